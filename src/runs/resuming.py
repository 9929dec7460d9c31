"""Checks what a training goes on from, and names the settings in which it differs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from ..checkpoints.checkpoint import PROCESSES, RUN, Checkpoint
from ..checkpoints.resumable_state import check_complete, check_states
from ..errors import InputError, some
from ..modules.backbones.base import SparseBackbone
from ..modules.weights import check_keys, present_name

log = logging.getLogger(__name__)

# Places, what is shown, what suits a machine, and how long: none of these changes a training.
_FREE = (
    "paths",
    "hydra",
    "logger",
    "ckpt_path",
    "throughput_batch",
    "title",
    "callbacks.progress",
    "datamodule.num_workers",
    "trainer.max_epochs",
    "trainer.default_root_dir",
)
_OPTIMIZER = "optimizer._target_"
_ABSENT = object()


def check_unused(folder: Path) -> None:
    """Check that a training from the start replaces no checkpoint of another one.

    Raises:
        InputError: If `folder` holds any.
    """
    if names := sorted(path.name for path in folder.glob("*.ckpt")):
        raise InputError(
            f"{folder} holds {some(names)} of an earlier training, which a new one would replace: "
            "go on with ckpt_path=last, or give another hydra.run.dir."
        )


def check_resumable(student: SparseBackbone, checkpoint: Checkpoint, max_epochs: int) -> None:
    """Check that training can go on from a checkpoint, before Lightning opens it.

    Raises:
        InputError: If it holds weights alone, those of another student, a state that no training
            can go on from, or too many epochs.
    """
    content, path = checkpoint.content, checkpoint.path
    epochs = check_states(content, path)
    state = content.get("state_dict")
    own = "student."
    weights = {
        present_name(student, key.removeprefix(own)): value
        for key, value in (state.items() if isinstance(state, Mapping) else ())
        if isinstance(key, str) and key.startswith(own) and isinstance(value, Tensor)
    }
    if not weights:
        raise InputError(f"{path} holds no weights of a student: give a .ckpt of train.py.")
    check_keys(student.state_dict(), weights, path)
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


def check_optimizer(checkpoint: Checkpoint, current: Mapping[str, object]) -> None:
    """Check that an optimizer can take the state in a checkpoint.

    Args:
        checkpoint: With the record of its run, else nothing is checked.
        current: The configuration of now.

    Raises:
        InputError: If it is of another class than the one whose state it is.
    """
    before, now = (dict(_settings(of)).get(_OPTIMIZER) for of in (_recorded(checkpoint), current))
    if before is not None and before != now:
        raise InputError(
            f"ckpt_path={checkpoint.path} was trained by {_shown(before)}, whose state "
            f"{_shown(now)} cannot take: go on with the same optimizer, or start from its weights "
            "with backbone.weights instead of ckpt_path."
        )


def differing_settings(checkpoint: Checkpoint, current: Mapping[str, object]) -> list[str]:
    """Name each setting in which a training differs from the one that it resumes.

    Args:
        checkpoint: With the record of its run.
        current: The configuration of now; references in it are as they were written.

    Returns:
        As `datamodule.batch_size was 32 and is 64`; nothing for a checkpoint without a record.

    Raises:
        InputError: If the checkpoint lacks what every training writes.
    """
    check_complete(checkpoint.content, checkpoint.path)
    recorded = _recorded(checkpoint)
    if not recorded:
        return []
    before, now = dict(_settings(recorded)), dict(_settings(current))
    return [
        f"{key} was {_shown(before.get(key, _ABSENT))} and is {_shown(now.get(key, _ABSENT))}"
        for key in (now | before)
        if before.get(key, _ABSENT) != now.get(key, _ABSENT)
    ]


def other_processes(checkpoint: Checkpoint, processes: int) -> str:
    """Return a sentence that says by how many processes a training goes on; empty if by as many.

    Args:
        checkpoint: With the record of its run.
        processes: That train now.
    """
    record = checkpoint.content.get(RUN)
    before = record.get(PROCESSES) if isinstance(record, Mapping) else None
    if not isinstance(before, int) or before == processes:
        return ""
    return (
        f"{checkpoint.path} goes on with another number of processes: it was {before} and is "
        f"{processes}, and so is the number of batches in a step."
    )


def _recorded(checkpoint: Checkpoint) -> Mapping[str, object]:
    """Return the configuration that a checkpoint records; nothing if there is none."""
    record = checkpoint.content.get(RUN)
    recorded = record.get("config") if isinstance(record, Mapping) else None
    return recorded if isinstance(recorded, Mapping) else {}


def _settings(values: Mapping[str, object], parent: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        key = f"{parent}{name}"
        if key in _FREE:
            continue
        if isinstance(value, Mapping) and value:
            yield from _settings(value, f"{key}.")
        else:
            yield key, list(value) if isinstance(value, (list, tuple)) else value


def _shown(value: object) -> str:
    if value is _ABSENT:
        return "not set"
    return "null" if value is None else str(value)[:80]
