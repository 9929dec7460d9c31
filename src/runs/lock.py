"""Locks the folder of a training, and the cell of a sweep, against a second process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import InputError

log = logging.getLogger(__name__)

_NAME = ".lock"
_CELL_NAME = ".cell.lock"
_PATIENCE = 30.0  # seconds; loader processes of a killed training live on for a few


@contextmanager
def only_training_in(folder: Path, patience: float = _PATIENCE) -> Iterator[None]:
    """Lock `folder` for one training, because two would mix their checkpoints and logs.

    The system lets go of it however the process ends.

    Args:
        folder: The run's.
        patience: How long to wait for another training to end, in seconds.

    Raises:
        InputError: If it has not ended by then.
    """
    sentence = (
        f"Another training is writing to {folder}: wait for its end, or give this one a folder "
        "of its own, hydra.run.dir=DIR."
    )
    with _only_one(folder / _NAME, patience, "trainings", sentence):
        yield


@contextmanager
def only_cell_in(folder: Path, patience: float = _PATIENCE) -> Iterator[None]:
    """Lock a cell for one sweep, because two would mix their results.

    Raises:
        InputError: If another sweep has not ended with it within `patience` seconds.
    """
    sentence = (
        f"Another sweep is at work on {folder}: wait for its end, or give this one a folder of its "
        "own, hydra.sweep.dir=DIR."
    )
    with _only_one(folder / _CELL_NAME, patience, "sweeps", sentence):
        yield


@contextmanager
def _only_one(path: Path, patience: float, others: str, sentence: str) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise InputError(sentence) from None
    except (NotImplementedError, OSError) as error:
        log.warning(f"{path.parent} cannot be kept from other {others} ({error}).")
    try:
        yield
    finally:
        lock.release()
