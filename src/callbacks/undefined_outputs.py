"""Tells of outputs that are not numbers, which metrics would take for the first class.

Without any output they would say 0.
"""

from __future__ import annotations

import logging

import lightning as L
import torch
from torch import Tensor
from typing_extensions import override

from ..errors import InputError
from ..modules.base import SparseModule
from ..modules.heads.base import undefined
from ..modules.step_results import Batch, EvaluationStep
from .task_callback import TaskCallback

log = logging.getLogger(__name__)


class UndefinedOutputs(TaskCallback):
    """Warns in a validation, and ends a test, of which an image has a NaN among its outputs.

    A test without images ends likewise.
    """

    def __init__(self) -> None:
        """Start without images."""
        self._counts = torch.zeros(2, dtype=torch.long)  # with a NaN, all

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
        self._count(outputs)

    @override
    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: SparseModule,
        outputs: EvaluationStep,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._count(outputs)

    @override
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        if fault := self._fault(trainer, pl_module):
            log.warning(f"{fault}, so that the metrics of this validation mean nothing.")

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End the test if an output is not a number, or there is none.

        Raises:
            InputError: If it is so.
        """
        if fault := self._fault(trainer, pl_module, test=True):
            raise InputError(
                f"{fault}: evaluate with trainer.precision=32-true, or give weights whose training "
                "has not diverged."
            )

    def _count(self, outputs: EvaluationStep) -> None:
        found: Tensor = undefined(outputs["output"])
        counts = torch.stack([found.sum(), found.new_tensor(len(found), dtype=torch.long)])
        self._counts = self._counts.to(counts.device) + counts

    def _fault(self, trainer: L.Trainer, module: L.LightningModule, test: bool = False) -> str:
        counts = trainer.strategy.reduce(self._counts.to(module.device), reduce_op="sum")
        self._counts = torch.zeros(2, dtype=torch.long)
        broken, images = map(int, counts)
        if test and not images:
            raise InputError(
                "No image was evaluated, so that there is nothing to measure: see whether the "
                "validation part of the data holds images with labels."
            )
        return f"{broken} of {images} images have outputs that are no numbers (NaN)" * bool(broken)
