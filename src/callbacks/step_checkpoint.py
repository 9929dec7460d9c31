"""A checkpoint within an epoch, to lose little of a run that is killed."""

from __future__ import annotations

from typing import Any, final

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint


@final
class StepCheckpoint(ModelCheckpoint):
    """Lightning's, but not after an epoch's last batch.

    A state saved there, before the validation, resumes with a batch too many; the checkpoint at
    the epoch's end follows at once.
    """

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where it is due."""
        if batch_idx + 1 < trainer.num_training_batches:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Nothing: steps are what counts."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Nothing."""
