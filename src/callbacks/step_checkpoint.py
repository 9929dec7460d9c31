"""Saves checkpoints within an epoch, so that a run that is killed loses little."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, final

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.types import STEP_OUTPUT

from ..lightning_internals import batches_completed, resumable_behind, save_now
from ..ranges import Number


@final
class StepCheckpoint(ModelCheckpoint):
    """Saves a checkpoint every so many steps or minutes, and at a SIGTERM.

    It saves none after an epoch's last batch, since the checkpoint at the epoch's end follows at
    once, and none between the batches whose gradients one step accumulates.
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
            minutes: Between two saves, where `steps` is None.
            steps: Between two saves.
            options: Of Lightning's `ModelCheckpoint`.
        """
        interval = None if minutes is None or steps else timedelta(minutes=minutes)
        super().__init__(train_time_interval=interval, every_n_train_steps=steps, **options)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Save if the interval is over, except where a resumed training would differ."""
        if resumable_behind(trainer, batch_idx + 1):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Save at a SIGTERM between two steps; within a step the state is inconsistent."""
        between = resumable_behind(trainer, batches_completed(trainer))
        if isinstance(exception, SIGTERMException) and between:
            save_now(self, trainer)
