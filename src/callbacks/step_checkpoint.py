"""A checkpoint within an epoch, so that a run that is killed loses little."""

from __future__ import annotations

from typing import Any, final

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException


@final
class StepCheckpoint(ModelCheckpoint):
    """Lightning's, by steps or by time, and at a SIGTERM; not after an epoch's last batch.

    A state saved there, before the validation, would resume with a batch too many; the checkpoint
    at the epoch's end follows at once.
    """

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where it is due."""
        if batch_idx + 1 < trainer.num_training_batches:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Save when told to stop between two batches; a state amid a batch is not worth keeping."""
        progress = trainer.fit_loop.epoch_loop.batch_progress.current
        within = 0 < progress.completed < trainer.num_training_batches
        if isinstance(exception, SIGTERMException) and within:
            self._save_checkpoint(trainer, self.format_checkpoint_name({}))
