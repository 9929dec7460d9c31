"""Weights from files, without ever running code that a file contains."""

from __future__ import annotations

import argparse
import logging
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import InputError, some
from ..whole import whole_file
from .backbones.base import SparseBackbone

log = logging.getLogger(__name__)

# Under these keys trainers wrap a network's weights, best first.
_WRAPPERS = ("state_dict", "model", "state_dict_ema", "model_ema", "module")
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def read_file(path: str | Path) -> dict[str, Any]:
    """Everything in a checkpoint, as tensors and plain values.

    Args:
        path: A `.safetensors` file, or one written by `torch.save` (`.pth`, `.pt`, `.ckpt`, ...).

    Raises:
        InputError: If the file is missing, damaged, larger inside than outside, or would have to
            run code to be read.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no weights file {path}: give a .safetensors, .pth or .ckpt.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        _check_archive(path)
        # Released checkpoints carry their command line; a Namespace only holds values.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not _is_pickle(path):
            raise _damaged(path) from error
        raise InputError(
            f"{path} is refused because reading it would run code that it contains: give a file "
            "that holds tensors only, as torch.save(model.state_dict(), path) writes."
        ) from error
    except InputError:
        raise
    except Exception as error:  # the readers of a damaged file raise whatever they like
        raise _damaged(path) from error
    if not isinstance(content, Mapping):
        raise InputError(
            f"{path} holds a {type(content).__name__}, not named weights: give a state_dict."
        )
    return dict(content)


def _check_archive(path: Path) -> None:
    """Compare what `torch.save`'s zip says of itself with what it is, in little memory.

    PyTorch unpacks without looking at sizes and checksums.
    """
    if not zipfile.is_zipfile(path):
        return  # an older format, whose tensors are read no further than the file goes
    with zipfile.ZipFile(path) as archive:
        declared, real = sum(part.file_size for part in archive.infolist()), path.stat().st_size
        if declared > real:
            raise InputError(
                f"{path} is refused because it would unpack to {declared:,} bytes from {real:,}: "
                "give a file as torch.save writes it, which is not compressed."
            )
        broken = archive.testzip()
    if broken:
        raise InputError(
            f"{path} is damaged: the checksum of its part {broken} is wrong, so fetch or save it "
            "again."
        )


def _is_pickle(path: Path) -> bool:
    """Whether this is what `torch.save` writes, or a plain pickle, rather than something else."""
    with path.open("rb") as file:
        return zipfile.is_zipfile(path) or file.read(1) == pickle.PROTO


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is not a whole weights file (truncated or of another format).")


def load_weights(student: SparseBackbone, path: str | Path) -> str:
    """Load a file into `student`: our own checkpoint, a released DynamicViT, or dense weights.

    Dense weights (timm's or DeiT's names) fill the backbone and leave the method as it is.

    Args:
        student: What to fill.
        path: See `read_file`.

    Returns:
        One sentence on what was loaded.

    Raises:
        InputError: Naming keys that are missing, unexpected or of another shape.
    """
    weights = _student_weights(student, read_file(path), path)
    own = student.state_dict()
    if not any(key.startswith("method.") for key in weights):
        weights |= {key: value for key, value in own.items() if key.startswith("method.")}
        new = len(list(student.method.parameters()))
        story = f"dense weights from {path}" + (f"; {new} method tensors stay new" if new else "")
    else:
        story = f"weights of backbone and method from {path}"
    _check_keys(own, weights, path)
    student.load_state_dict(weights)
    return f"Loaded {story}."


def save_dense(student: SparseBackbone, path: str | Path) -> None:
    """Write the backbone alone, in half precision under timm's names, to a `.safetensors` file."""
    weights = {
        key: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for key, value in student.backbone.state_dict().items()
    }
    with whole_file(path) as partial:
        save_file(weights, partial)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in `folder` that is whole; None where there is none."""
    files = sorted(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in files:
        try:
            read_file(path)
        except InputError as error:
            log.warning(f"{error} The one before it is taken.")
        else:
            return path
    return None


def check_resumable(student: SparseBackbone, path: str | Path, max_epochs: int) -> None:
    """See that training can go on from a checkpoint, before Lightning opens it.

    Raises:
        InputError: If it holds weights alone, those of another student, or too many epochs.
    """
    content = read_file(path)
    if "optimizer_states" not in content or "loops" not in content:
        raise InputError(
            f"ckpt_path={path} holds no state of a training to resume: give a .ckpt that train.py "
            "wrote, or start from its weights with backbone.weights instead of ckpt_path."
        )
    _check_keys(student.state_dict(), _student_weights(student, content, path), path)
    _check_places(content, path)
    try:
        epochs = int(content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"ckpt_path={path} does not say for how many epochs it was trained: give a .ckpt that "
            "train.py wrote."
        ) from error
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


def _check_places(content: dict[str, Any], path: str | Path) -> None:
    """Lightning deletes what a checkpoint calls its predecessors, if they lie in the run's folder.

    It goes by their names alone, and so would follow `..` or an address.
    """
    callbacks = content.get("callbacks")
    states = callbacks.values() if isinstance(callbacks, Mapping) else ()
    for state in (state for state in states if isinstance(state, Mapping)):
        names = [state.get(f"{which}_model_path") for which in ("best", "kth_best", "last")]
        several = state.get("best_k_models")
        names += several if isinstance(several, Mapping) else []
        for name in map(str, names):
            if ".." in Path(name).parts or re.search("::|://", name):
                raise InputError(
                    f"ckpt_path={path} is refused because it calls {name} a checkpoint of its own, "
                    "which going on could delete: start from its weights with backbone.weights."
                )


def classes_in(content: dict[str, Any], path: str | Path) -> int | None:
    """Outputs of the classifier head in a file, or None if it has none that is known by name."""
    weights = _tensors(content, path)
    names = (
        prefix + head for prefix in ("", "backbone.") for head in ("head.weight", "head.fc.weight")
    )
    heads = [weights[name] for name in names if name in weights]
    # Only one that has values in both dimensions bounds its classes by the size of its file.
    return next((len(head) for head in heads if head.ndim == 2 and head.numel()), None)


def _tensors(content: dict[str, Any], path: str | Path) -> dict[str, Tensor]:
    """The weights in a file, without what trainers wrap around them and their names."""
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            content = dict(content[wrapper])
            break
    tensors = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        raise InputError(f"{path} holds no weights: give a state_dict or a checkpoint with one.")
    _check_plain(tensors, path)
    tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    own = "student."
    if any(key.startswith(own) for key in tensors):
        return {k.removeprefix(own): v for k, v in tensors.items() if k.startswith(own)}
    return tensors


def _check_plain(tensors: dict[str, Tensor], path: str | Path) -> None:
    """No tensor may be larger than its file, or of a kind that no network here has."""
    most = Path(path).stat().st_size
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
            raise InputError(
                f"{path} holds {name} in a form without plain values (sparse, quantized, meta): "
                "give the dense weights."
            )
        if tensor.nbytes > most:
            raise InputError(
                f"{path} is refused because it declares {name} as {tuple(tensor.shape)}, which is "
                f"more than the file's {most:,} bytes can hold."
            )


def _student_weights(
    student: SparseBackbone, content: dict[str, Any], path: str | Path
) -> dict[str, Tensor]:
    """The file's weights under the student's names (`backbone.*`, `method.*`)."""
    weights = _tensors(content, path)
    if not any(key.startswith(("backbone.", "method.")) for key in weights):
        weights = student.import_weights(weights)
    # Batch norm's counters matter only without a momentum, and numbers-only files leave them out.
    counters = {k: v for k, v in student.state_dict().items() if k.endswith("num_batches_tracked")}
    return counters | weights


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
        raise InputError(
            f"{path} does not fit this student: {'; '.join(problems)}; "
            "give weights of the same network, resolution and number of classes."
        )
    broken = [key for key in own if not torch.isfinite(weights[key]).all()]
    if broken:
        raise InputError(
            f"{path} holds numbers that are not finite in {some(broken)}: the training that wrote "
            "it had diverged or the file is damaged, so give another one."
        )


def _converts(stored: torch.dtype, own: torch.dtype) -> bool:
    """Whether weights may be stored as `stored`: floats as floats, counters as any plain number."""
    exotic = stored.is_floating_point or stored.is_complex
    return stored in _FLOATS or not (exotic or own.is_floating_point)
