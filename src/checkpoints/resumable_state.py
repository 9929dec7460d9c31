"""Checks what a checkpoint says of its training before Lightning resumes from it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from .plain_values import UnreadObject, UnreadTensor

_BY_LIGHTNING = {
    "pytorch-lightning_version": str,
    "global_step": int,
    "epoch": int,
    "lr_schedulers": list,
    "optimizer_states": list,
    "loops": Mapping,
    "state_dict": Mapping,
}
_MOST = 2**53  # steps and epochs; a larger number is none


def progress_of(content: Mapping[str, object]) -> tuple[int, int]:
    """Return optimizer steps and epochs behind a checkpoint; -1 where it does not say."""
    return _counted(content.get("global_step")), _counted(content.get("epoch"))


def check_states(content: Mapping[str, object], path: str | Path) -> int:
    """Check that optimizers, schedules and counters are a training's; return its epochs.

    Raises:
        InputError: Naming what is missing, no number, or of another shape.
    """
    if "optimizer_states" not in content or "loops" not in content:
        raise InputError(
            f"ckpt_path={path} holds no state of a training to resume: give a .ckpt that train.py "
            "wrote, or start from its weights with backbone.weights instead of ckpt_path."
        )
    opaque = next((key for key, value in content.items() if _has_opaque(value)), None)
    if opaque is not None:
        raise InputError(
            f"ckpt_path={path} holds objects in {opaque} that train.py does not write: start from "
            "its weights with backbone.weights instead."
        )
    if "pytorch-lightning_version" in content or "lr_schedulers" in content:
        check_complete(content, path)
    _check_places(content, path)
    _check_optimizers(content, path)
    progress: object = content
    for key in ("loops", "fit_loop", "epoch_progress", "current", "processed"):
        progress = progress.get(key) if isinstance(progress, Mapping) else None
    epochs = _counted(progress)
    if epochs < 0:
        raise InputError(
            f"ckpt_path={path} does not say for how many epochs it was trained: give a .ckpt that "
            "train.py wrote."
        )
    return epochs


def check_complete(content: Mapping[str, object], path: str | Path) -> None:
    """Check that all is there that Lightning reads beside weights and optimizers.

    Raises:
        InputError: Naming what is missing or of another kind.
    """
    for key, kind in _BY_LIGHTNING.items():
        if not isinstance(content.get(key), kind):
            raise _no_state(path, f"has no {key}")
    for key in ("global_step", "epoch"):
        if _counted(content[key]) < 0:
            raise _no_state(path, f"has no whole number from 0 as {key}")
    _check_schedules(_listed(content["lr_schedulers"]), path)
    for optimizer in _listed(content["optimizer_states"]):
        groups = optimizer.get("param_groups") if isinstance(optimizer, Mapping) else None
        if not isinstance(groups, list):
            raise _no_state(path, "has an optimizer without param_groups")


def _no_state(path: str | Path, why: str) -> InputError:
    return InputError(
        f"ckpt_path={path} {why}, so that no training can go on from it: give another .ckpt that "
        "train.py wrote, or start from its weights with backbone.weights."
    )


def _counted(value: object) -> int:
    return value if type(value) is int and 0 <= value < _MOST else -1


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _has_opaque(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(isinstance(key, UnreadObject) or _has_opaque(one) for key, one in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(map(_has_opaque, value))
    return isinstance(value, (UnreadObject, UnreadTensor))


def _check_schedules(states: Iterable[object], path: str | Path) -> None:
    for state in states:
        entries = state if isinstance(state, Mapping) else {}
        if "base_lrs" not in entries or _counted(entries.get("last_epoch")) < 0:
            raise _no_state(path, "has a learning-rate schedule without last_epoch or base_lrs")
        steps = entries.get("steps_per_epoch", 1)
        if type(steps) not in (int, float) or not 0 < steps < _MOST:
            raise _no_state(path, "has a learning-rate schedule with a wrong steps_per_epoch")


def _check_optimizers(content: Mapping[str, object], path: str | Path) -> None:
    """Refuse moments that are not finite, or not all of the shape of one parameter."""
    weights, optimizers = content.get("state_dict"), content["optimizer_states"]
    if not isinstance(weights, Mapping) or not isinstance(optimizers, list):
        raise _no_state(path, "has no list of optimizers or no weights")
    shapes = {v.shape for v in weights.values() if isinstance(v, Tensor)}
    for optimizer in optimizers:
        state = optimizer.get("state") if isinstance(optimizer, Mapping) else None
        if not isinstance(state, Mapping):
            raise _no_state(path, "has an optimizer without state")
        for number, entries in state.items():
            tensors = dict(_tensors(entries))
            for name, value in tensors.items():
                if not torch.isfinite(value).all():
                    raise _no_state(path, f"has {name} of parameter {number} that is not finite")
            large = {value.shape for name, value in tensors.items() if name != "step"}
            if len(large) > 1 or not large <= shapes:
                raise _no_state(
                    path, f"has moments of parameter {number} in the shapes {sorted(large)}"
                )


def _tensors(entries: object) -> Iterator[tuple[str, Tensor]]:
    for name, value in entries.items() if isinstance(entries, Mapping) else ():
        if isinstance(value, Tensor):
            yield str(name)[:40], value


def _check_places(content: Mapping[str, object], path: str | Path) -> None:
    """Refuse names of former checkpoints that lead out of the run's folder.

    Lightning deletes these files by their names alone, and so would follow `..` or an address.
    """
    callbacks = content.get("callbacks")
    states = callbacks.values() if isinstance(callbacks, Mapping) else ()
    for state in (state for state in states if isinstance(state, Mapping)):
        names = [state.get(f"{which}_model_path") for which in ("best", "kth_best", "last")]
        several = state.get("best_k_models")
        names += several if isinstance(several, Mapping) else []
        for name in (name for name in names if isinstance(name, str)):
            if ".." in Path(name).parts or re.search("::|://", name):
                raise InputError(
                    f"ckpt_path={path} is refused because it calls {name} a checkpoint of its own, "
                    "which going on could delete: start from its weights with backbone.weights."
                )
