"""Stores the configuration of a run in its checkpoints."""

from __future__ import annotations

from typing import Any

import lightning as L

from ..checkpoints.checkpoint import CLASS_NAMES, PREPROCESSING, PROCESSES, RUN
from ..config import Settings
from ..datamodules.attached import data_of
from ..datamodules.base import ImageDataModule


class RunRecord(L.Callback):
    """Stores the run's configuration, with its interpolations, in every checkpoint as `run`.

    The name of each output's class is stored as `class_names`, by which an evaluation matches the
    labels of its data with the outputs of the network, and how evaluation prepares images as
    `preprocessing`.
    """

    def __init__(self, config: Settings, choices: dict[str, str]) -> None:
        """Take what every checkpoint will record.

        Args:
            config: The composed configuration, unresolved.
            choices: The option chosen in each group.
        """
        self.record = {"config": config, "choices": choices}

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the record, and the names of the classes where the data knows them."""
        checkpoint[RUN] = self.record | {PROCESSES: trainer.world_size}
        data = data_of(trainer)
        named = data is not None and getattr(pl_module, "outputs_are_classes", True)
        names = data.class_names if named else None
        if names is not None:
            checkpoint[CLASS_NAMES] = list(names)
        if isinstance(data, ImageDataModule):
            checkpoint[PREPROCESSING] = data.preprocessing.as_dict()
