"""Saves checkpoints within an epoch, so that a run that is killed loses little."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, final

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.types import STEP_OUTPUT

from ..lightning_internals import batches_completed, save_now
from ..ranges import Number


@final
class StepCheckpoint(ModelCheckpoint):
    """Saves a checkpoint every so many steps or minutes, and at a SIGTERM.

    It saves none after an epoch's last batch: a state saved there, before the validation, would
    resume with a batch too many, and the checkpoint at the epoch's end follows at once.
    """

    ranges = {
        "minutes": Number(15, above=0, optional=True),
        "steps": Number(500, least=1, whole=True, optional=True),
    }

    def __init__(
        self, *, minutes: float | None = None, steps: int | None = None, **options: Any
    ) -> None:
        """Choose the interval, in minutes or in optimizer steps.

        Args:
            minutes: Between two saves; None to count steps.
            steps: Between two saves; None to count minutes.
            options: Of Lightning's `ModelCheckpoint`.
        """
        interval = None if minutes is None else timedelta(minutes=minutes)
        super().__init__(train_time_interval=interval, every_n_train_steps=steps, **options)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Save if the interval is over, except after an epoch's last batch."""
        if batch_idx + 1 < trainer.num_training_batches:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Save at a SIGTERM between two batches; within a batch the state is inconsistent."""
        within = 0 < batches_completed(trainer) < trainer.num_training_batches
        if isinstance(exception, SIGTERMException) and within:
            save_now(self, trainer)
