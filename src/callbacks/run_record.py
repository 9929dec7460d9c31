"""A checkpoint that knows the configuration it came from."""

from __future__ import annotations

from typing import Any

import lightning as L

from ..checkpoints.checkpoint import CLASS_NAMES, RUN
from ..config import Settings
from ..datamodules.attached import data_of


class RunRecord(L.Callback):
    """Stores the run's configuration, with its interpolations, in every checkpoint as `run`.

    And the name of each output's class as `class_names`, so that data is matched by names.
    """

    def __init__(self, config: Settings, choices: dict[str, str]) -> None:
        """Keep what checkpoints are to record.

        Args:
            config: The composed configuration, unresolved.
            choices: The option chosen in each group.
        """
        self.record = {"config": config, "choices": choices}

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the record, and what the outputs stand for where the data says it."""
        checkpoint[RUN] = self.record
        data = data_of(trainer)
        names = data.class_names if data is not None else None
        if names is not None:
            checkpoint[CLASS_NAMES] = list(names)
