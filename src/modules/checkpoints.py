"""Weights and checkpoints: what is loaded into a student, and what a training may resume."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..errors import InputError, some
from ..whole import whole_file
from .backbones.base import SparseBackbone
from .found_weights import FoundWeights, find_weights
from .resampling import resampled
from .resumable_state import check_states, progress_of
from .safe_reading import read_file

__all__ = [
    "check_resumable",
    "classes_in",
    "head_in",
    "load_weights",
    "newest_checkpoint",
    "read_file",
    "save_dense",
    "weights_in",
]

log = logging.getLogger(__name__)

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def load_weights(student: SparseBackbone, path: str | Path) -> str:
    """Load a file into `student`: our own checkpoint, a released DynamicViT, or dense weights.

    Dense weights (timm's or DeiT's names) fill the backbone and leave the method as it is. Names
    may be wrapped in others (`module.`, `_orig_mod.`, `net.`, ...); averaged weights (EMA) are
    taken before raw ones; position embeddings of another image size are resampled as timm does;
    a file without a classifier leaves the student's as it is.

    Args:
        student: What to fill.
        path: See `read_file`.

    Returns:
        One sentence on what was loaded.

    Raises:
        InputError: Naming keys that are missing, unexpected or of another shape.
    """
    own = student.state_dict()
    firsts = frozenset(key.partition(".")[0] for key in student.backbone.state_dict())
    found = find_weights(read_file(path), path, firsts)
    weights, notes = _student_weights(student, found)
    notes = found.notes + notes
    if not any(key.startswith("method.") for key in weights):
        weights |= {key: value for key, value in own.items() if key.startswith("method.")}
        new = len(list(student.method.parameters()))
        what = f"dense weights from {path}"
        notes += [f"{new} method tensors stay new"] if new else []
    else:
        what = f"weights of backbone and method from {path}"
    heads = _head_keys(student)
    if heads and not heads & weights.keys():
        weights |= {key: own[key] for key in heads}
        log.warning(f"{path} has no classifier: the head is new.")
        notes.append("the head stays new")
    _check_keys(own, weights, path)
    student.load_state_dict(weights)
    return f"Loaded {'; '.join([what, *notes])}."


def _student_weights(
    student: SparseBackbone, found: FoundWeights
) -> tuple[dict[str, Tensor], list[str]]:
    """The found weights under the student's names (`backbone.*`, `method.*`), and what was done."""
    own = student.state_dict()
    weights = student.import_weights(found.network)
    weights |= {f"method.{key}": value for key, value in found.method.items()}
    weights = {_present_name(student, key): value for key, value in weights.items()}
    weights, notes = resampled(student.backbone, found.network, weights)
    # Batch norm's counters matter only without a momentum, and numbers-only files leave them out.
    counters = {k: v for k, v in own.items() if k.endswith("num_batches_tracked")}
    return counters | weights, notes


def _present_name(student: SparseBackbone, key: str) -> str:
    start = "method."
    if not key.startswith(start):
        return key
    return start + student.method.present_name(key.removeprefix(start))


def _head_keys(student: SparseBackbone) -> set[str]:
    """The names of the classifier's tensors."""
    config: Any = getattr(student.backbone, "pretrained_cfg", None) or {}
    names = config.get("classifier") or "head"
    starts = tuple(f"backbone.{n}." for n in ([names] if isinstance(names, str) else names))
    return {key for key in student.state_dict() if key.startswith(starts)}


def save_dense(student: SparseBackbone, path: str | Path) -> None:
    """Write the backbone alone, in half precision under timm's names, to a `.safetensors` file."""
    weights = {
        key: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for key, value in student.backbone.state_dict().items()
    }
    with whole_file(path) as partial:
        save_file(weights, partial)


def newest_checkpoint(folder: Path) -> Path | None:
    """Find the whole checkpoint in `folder` that has trained longest; None where there is none.

    Files' times decide between equals only: copies and clocks change them.
    """
    best: tuple[tuple[int, int, int], Path] | None = None
    for path in sorted(folder.glob("*.ckpt")):
        try:
            progress = *progress_of(read_file(path)), path.stat().st_mtime_ns
        except (InputError, OSError) as error:
            log.warning(f"{str(error).removesuffix('.')}: another one is looked for.")
            continue
        if best is None or progress > best[0]:
            best = progress, path
    return best and best[1]


def check_resumable(student: SparseBackbone, path: str | Path, max_epochs: int) -> None:
    """See that training can go on from a checkpoint, before Lightning opens it.

    Raises:
        InputError: If it holds weights alone, those of another student, a state that no training
            can go on from, or too many epochs.
    """
    content = read_file(path)
    epochs = check_states(content, path)
    state = content.get("state_dict")
    own = "student."
    weights = {
        _present_name(student, key.removeprefix(own)): value
        for key, value in (state.items() if isinstance(state, Mapping) else ())
        if isinstance(key, str) and key.startswith(own) and isinstance(value, Tensor)
    }
    if not weights:
        raise InputError(f"{path} holds no weights of a student: give a .ckpt of train.py.")
    _check_keys(student.state_dict(), weights, path)
    if epochs > max_epochs:
        raise InputError(
            f"ckpt_path={path} has trained for {epochs} epochs, more than "
            f"trainer.max_epochs={max_epochs}: give at least {epochs + 1} to go on."
        )
    if epochs == max_epochs:
        log.warning(
            f"{path} has finished its {epochs} epochs, so that nothing is trained: "
            "give a larger trainer.max_epochs to go on."
        )


def weights_in(content: Mapping[str, Any], path: str | Path) -> dict[str, Tensor]:
    """Every tensor that lies where a file's weights are, by its name in the file."""
    return {k: v for k, v in find_weights(content, path).all.items() if isinstance(v, Tensor)}


def classes_in(content: Mapping[str, Any], path: str | Path) -> int | None:
    """Outputs of the classifier head in a file, or None if it has none that is known by name."""
    weights = find_weights(content, path).network
    heads = [weights[name] for name in ("head.weight", "head.fc.weight") if name in weights]
    # Only one that has values in both dimensions bounds its classes by the size of its file.
    return next((len(head) for head in heads if head.ndim == 2 and head.numel()), None)


def head_in(content: Mapping[str, Any], path: str | Path) -> dict[str, Tensor]:
    """The head on a network's maps that lies beside a student in a file, by the head's names."""
    found = find_weights(content, path)
    if found.outer is None:
        return {}
    start = f"{found.outer}head."
    return {k.removeprefix(start): v for k, v in found.all.items() if k.startswith(start)}


def _check_keys(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], path: Any) -> None:
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
        remedy = "give weights of the same network, resolution and number of classes."
        unknown = weights.keys() - own.keys()
        if unknown and all(key.startswith("method.") for key in unknown):
            remedy = "choose the method that wrote them, as method=dynamicvit for predictors."
        raise InputError(f"{path} does not fit this student: {'; '.join(problems)}; {remedy}")
    broken = [key for key, value in own.items() if not _finite(weights[key], value.dtype)]
    if broken:
        raise InputError(
            f"{path} holds numbers that are not finite in {some(broken)}: the training that wrote "
            "it had diverged or the file is damaged, so give another one."
        )


def _converts(stored: torch.dtype, own: torch.dtype) -> bool:
    """Whether weights may be stored as `stored`: floats as floats, counters as any plain number."""
    exotic = stored.is_floating_point or stored.is_complex
    return stored in _FLOATS or not (exotic or own.is_floating_point)


def _finite(stored: Tensor, dtype: torch.dtype) -> bool:
    """Whether every number is finite in the student's own type, which may have fewer of them."""
    return bool(torch.isfinite(stored.to(dtype)).all())
