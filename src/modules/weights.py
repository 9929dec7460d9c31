"""Loads weights into students and heads, and writes a student's dense weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..checkpoints.checkpoint import PREPROCESSING, Checkpoint
from ..checkpoints.found_weights import FoundWeights
from ..datamodules.preprocessing import Preprocessing
from ..errors import InputError, some
from ..files import atomic_file
from .backbones.base import SparseBackbone
from .resampling import resampled

log = logging.getLogger(__name__)

_REMEDY = "give weights of the same network, resolution and number of classes."
_HEAD_REMEDY = "choose the head, its channels and the data that it was trained with."
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Loaded:
    """Describes what was loaded from a file into a student; `str` makes a sentence of it.

    Attributes:
        path: The file.
        method: Whether the file held the method's weights too, not only the dense network's.
        new: Names of the student's tensors that the file lacks, which keep their values.
        notes: What else was done, as parts of a sentence.
    """

    path: Path
    method: bool
    new: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        kind = "weights of backbone and method" if self.method else "dense weights"
        return f"Loaded {'; '.join([f'{kind} from {self.path}', *self.notes])}."


def load_weights(student: SparseBackbone, source: str | Path | Checkpoint) -> Loaded:
    """Load a file into `student`: our own checkpoint, a released DynamicViT, or dense weights.

    Dense weights (timm's or DeiT's names) fill the backbone and leave the method as it is. Names
    may be wrapped in others (`module.`, `_orig_mod.`, `net.`, ...); averaged weights (EMA) are
    taken before raw ones; position embeddings of another image size are resampled as timm does;
    a file without a classifier leaves the student's as it is. Images are prepared as the file says,
    in the student's own size.

    Args:
        student: What to fill.
        source: A file (see `read_file`), or a checkpoint that has been read already.

    Returns:
        What was loaded.

    Raises:
        InputError: Naming keys that are missing, unexpected or of another shape.
    """
    if not isinstance(student, SparseBackbone):
        raise InputError(
            f"student is a {type(student).__name__}: give what sparsify or create_student returned."
        )
    if isinstance(source, Mapping):
        raise InputError(
            "source holds tensors instead of naming a file: load them by student.load_state_dict, "
            "a dense network's by student.backbone.load_state_dict."
        )
    checkpoint = source if isinstance(source, Checkpoint) else Checkpoint.read(source)
    path, own = checkpoint.path, student.state_dict()
    found = checkpoint.weights(
        frozenset(k.partition(".")[0] for k in student.backbone.state_dict())
    )
    weights, notes = _student_weights(student, found)
    notes = found.notes + notes
    of_method = any(key.startswith("method.") for key in weights)
    new = {} if of_method else {k: v for k, v in own.items() if k.startswith("method.")}
    if new:
        notes += [f"{len(list(student.method.parameters()))} method tensors stay new"]
    heads = _head_keys(student)
    if heads and not heads & weights.keys():
        new |= {key: own[key] for key in heads}
        log.warning(f"{path} has no classifier: the head is new.")
        notes.append("the head stays new")
    weights |= new
    check_keys(own, weights, path)
    student.load_state_dict(weights)
    student.method_is_new = student.method_is_new and not of_method
    student.class_names = checkpoint.class_names
    if stored := checkpoint.content.get(PREPROCESSING):
        ready = Preprocessing.checked(stored, f"{path}: {PREPROCESSING}")
        student.preprocessing = ready
        with suppress(InputError):  # networks that know no size have the file's
            student.preprocessing = replace(ready, size=student.image_size)
    return Loaded(path, of_method, tuple(sorted(new)), tuple(notes))


def load_head(head: nn.Module, checkpoint: Checkpoint) -> None:
    """Load the head that a file holds beside the student, if there is one.

    Raises:
        InputError: If it is another kind of head.
    """
    weights, own = checkpoint.head, head.state_dict()
    if not weights:
        log.warning(f"{checkpoint.path} has no head for this task: the head is new.")
        return
    check_keys(own, weights, checkpoint.path, "head", _HEAD_REMEDY)
    head.load_state_dict(weights)


def _student_weights(
    student: SparseBackbone, found: FoundWeights
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights under the student's names (`backbone.*`, `method.*`), and notes."""
    own = student.state_dict()
    weights = student.import_weights(found.network)
    weights |= {f"method.{key}": value for key, value in found.method.items()}
    weights = {present_name(student, key): value for key, value in weights.items()}
    weights, notes = resampled(student.backbone, found.network, weights)
    # Batch norm's counters matter only without a momentum, and numbers-only files leave them out.
    counters = {k: v for k, v in own.items() if k.endswith("num_batches_tracked")}
    return counters | weights, notes


def present_name(student: SparseBackbone, key: str) -> str:
    """Return the present name of a student's parameter that a checkpoint calls `key`."""
    start = "method."
    if not key.startswith(start):
        return key
    return start + student.method.present_name(key.removeprefix(start))


def _head_keys(student: SparseBackbone) -> set[str]:
    """Return the names of the classifier's tensors."""
    names = getattr(student, "pretrained_cfg", {}).get("classifier") or "head"
    starts = tuple(f"backbone.{n}." for n in ([names] if isinstance(names, str) else names))
    return {key for key in student.state_dict() if key.startswith(starts)}


def save_dense(student: SparseBackbone, path: str | Path) -> None:
    """Write the backbone alone, in half precision under timm's names, to a `.safetensors` file."""
    weights = {
        key: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for key, value in student.backbone.state_dict().items()
    }
    with atomic_file(path) as partial:
        save_file(weights, partial)


def check_keys(
    own: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    path: str | Path,
    what: str = "student",
    remedy: str = _REMEDY,
) -> None:
    """Check that a file's weights fit `own` by name, shape and type, and are finite.

    Args:
        own: The tensors to fill, by name.
        weights: The file's tensors, under the same names.
        path: The file, for messages.
        what: What `own` belongs to, for messages.
        remedy: What to do about a difference, for messages.

    Raises:
        InputError: Naming what differs.
    """
    common = own.keys() & weights.keys()
    misshaped = [
        f"{key} is {tuple(weights[key].shape)} instead of {tuple(value.shape)}"
        for key, value in own.items()
        if key in common and weights[key].shape != value.shape
    ]
    mistyped = [
        f"{key} is {weights[key].dtype} instead of {value.dtype}"
        for key, value in own.items()
        if key in common and not _converts(weights[key].dtype, value.dtype)
    ]
    problems = [
        f"{label} {some(keys)}"
        for label, keys in (
            ("missing", sorted(own.keys() - weights.keys())),
            ("unexpected", sorted(weights.keys() - own.keys())),
            ("misshaped", misshaped),
            ("of another type", mistyped),
        )
        if keys
    ]
    if problems:
        unknown = weights.keys() - own.keys()
        if unknown and all(key.startswith("method.") for key in unknown):
            remedy = "choose the method that wrote them, as method=dynamicvit for predictors."
        raise InputError(f"{path} does not fit this {what}: {'; '.join(problems)}; {remedy}")
    broken = [key for key, value in own.items() if not _finite(weights[key], value.dtype)]
    if broken:
        raise InputError(
            f"{path} holds numbers that are not finite in {some(broken)}: the training that wrote "
            "it had diverged or the file is damaged, so give another one."
        )


def _converts(stored: torch.dtype, own: torch.dtype) -> bool:
    """Return whether `own` may be stored as `stored`: as plain floats, counters as any number."""
    exotic = stored.is_floating_point or stored.is_complex
    return stored in _FLOATS or not (exotic or own.is_floating_point)


def _finite(stored: Tensor, dtype: torch.dtype) -> bool:
    """Return whether every number is finite in the student's own type, which may be narrower."""
    return bool(torch.isfinite(stored.to(dtype)).all())
