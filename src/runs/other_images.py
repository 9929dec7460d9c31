"""Says where images are prepared in another way than in the training of a checkpoint."""

from __future__ import annotations

import logging

from ..checkpoints.checkpoint import PREPROCESSING, Checkpoint
from ..datamodules.base import ImageDataModule
from ..datamodules.preprocessing import Preprocessing

log = logging.getLogger(__name__)


def warn_of_other_preprocessing(data: ImageDataModule, checkpoint: Checkpoint) -> None:
    """Warn if a data module prepares images in another way than a file says that it was trained.

    Raises:
        InputError: If what the file says is damaged.
    """
    said = checkpoint.content.get(PREPROCESSING)
    if said is None:
        return
    stored = Preprocessing.checked(said, f"{checkpoint.path}: {PREPROCESSING}").as_dict()
    differing = [
        f"{name}={_shown(value)} instead of {_shown(stored[name])}"
        for name, value in data.preprocessing.as_dict().items()
        if value != stored[name]
    ]
    if differing:
        log.warning(
            f"Images are prepared in another way than {checkpoint.path} was trained for: "
            f"{', '.join(differing)}."
        )


def _shown(value: object) -> str:
    return str(list(value) if isinstance(value, tuple) else value)
