"""Logs the share of patches that are kept at each location."""

from __future__ import annotations

import lightning as L
import torch
from typing_extensions import override

from ..modules.base import SparseModule
from ..modules.step_results import Batch, EvaluationStep, TrainingStep
from .task_callback import TaskCallback


class KeepRatioLogger(TaskCallback):
    """Logs `keep/<location>`, the mean share of patches kept in training, beside its target.

    `val_keep/<location>` is the same at validation, where tokens are removed. Both are means over
    the images of all processes.
    """

    @override
    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: SparseModule,
        outputs: TrainingStep,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        schedule = pl_module.student.method.schedule
        shares = outputs["kept"].mean(dim=1)
        for location, share, target in zip(
            schedule.locations, shares, schedule.ratios, strict=True
        ):
            pl_module.log(f"keep/{location}", share, on_epoch=False, sync_dist=True)
            pl_module.log(f"keep/{location}_target", target, on_epoch=False)

    @override
    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        locations = pl_module.student.method.schedule.locations
        self._sums = torch.zeros(len(locations) + 1, device=pl_module.device)

    @override
    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: SparseModule,
        outputs: EvaluationStep,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        shares = outputs["kept"]
        self._sums[:-1] += shares.sum(dim=1)
        self._sums[-1] += shares.shape[1]

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        """Log the means over the images of all processes."""
        sums = trainer.strategy.reduce(self._sums, reduce_op="sum")
        locations = pl_module.student.method.schedule.locations
        for location, mean in zip(locations, sums[:-1] / sums[-1], strict=True):
            pl_module.log(f"val_keep/{location}", mean)
