"""A checkpoint that knows the configuration it came from."""

from __future__ import annotations

from typing import Any

import lightning as L

from ..checkpoints.checkpoint import CLASS_NAMES, PREPROCESSING, RUN
from ..datamodules.base import ImageDataModule


class RunRecord(L.Callback):
    """Stores the run's configuration, with its interpolations, in every checkpoint as `run`.

    And the name of each output's class as `class_names`, so that data is matched by names, and how
    evaluation prepares images as `preprocessing`.
    """

    def __init__(self, config: dict[str, Any], choices: dict[str, str]) -> None:
        """Keep what checkpoints are to record.

        Args:
            config: The composed configuration, unresolved.
            choices: The option chosen in each group.
        """
        self.record = {"config": config, "choices": choices}

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Add the record, and what the outputs stand for where the data says it."""
        checkpoint[RUN] = self.record
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        names = data.class_names if data is not None else None
        if names is not None:
            checkpoint[CLASS_NAMES] = list(names)
        if isinstance(data, ImageDataModule):
            checkpoint[PREPROCESSING] = data.preprocessing.as_dict()
