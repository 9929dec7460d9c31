"""Writes students, alone or with a head, to files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_file
from torch import Tensor

from ...files import atomic_file
from .description import as_text, describe
from .stored import check_text

if TYPE_CHECKING:
    from ..backbones.base import SparseBackbone
    from ..heads.base import Head


def save(
    student: SparseBackbone,
    path: str | Path,
    head: Head | None = None,
    network_options: Mapping[str, object] | None = None,
) -> None:
    """Write weights and description to one `.safetensors` file.

    Args:
        student: In any mode, on any device.
        path: Path of the file; if writing fails, an old file stays as it was.
        head: The head on the student's maps, if there is one.
        network_options: As `Described.save`.

    Raises:
        InputError: See `describe`.
        OSError: If the file cannot be written.
    """
    text = as_text(describe(student, head, network_options))
    check_text(Path(path), text)
    with atomic_file(path) as partial:
        save_file(tensors_of(student, head), partial, text)


def tensors_of(student: SparseBackbone, head: Head | None) -> dict[str, Tensor]:
    """Return all tensors by name: a student's own names, or with a head those of `WholeNetwork`."""
    found = dict(student.state_dict())
    if head is not None:
        found = {f"student.{key}": value for key, value in found.items()}
        found |= {f"head.{key}": value for key, value in head.state_dict().items()}
    return apart({key: value.detach().cpu().contiguous() for key, value in found.items()})


def apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return `tensors` with copies of those that share memory, as tied weights, which files cannot.

    Read again they are equal, but tied no longer.
    """
    seen: set[int] = set()
    for key, value in tensors.items():
        place = value.untyped_storage().data_ptr()
        tensors[key] = value.clone() if place in seen else value
        seen.add(place)
    return tensors
