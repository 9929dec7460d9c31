"""One training to a folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import InputError

log = logging.getLogger(__name__)

_NAME = ".lock"
_PATIENCE = 30.0  # seconds; loader processes of a killed training live on for a few


@contextmanager
def only_training_in(folder: Path, patience: float = _PATIENCE) -> Iterator[None]:
    """Keep other trainings out of `folder`, whose checkpoints and logs two would mix.

    The system lets go of it however the process ends.

    Args:
        folder: The run's.
        patience: How long to wait for another training to end, in seconds.

    Raises:
        InputError: If it has not ended by then.
    """
    lock = FileLock(folder / _NAME)
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise InputError(
            f"Another training is writing to {folder}: wait for its end, or give this one a folder "
            "of its own, hydra.run.dir=DIR."
        ) from None
    except (NotImplementedError, OSError) as error:
        log.warning(f"{folder} cannot be kept from other trainings ({error}).")
    try:
        yield
    finally:
        lock.release()
