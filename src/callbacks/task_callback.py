"""Types the hooks of callbacks by what this package's trainings and evaluations hand to them."""

# ruff: noqa: D102
from __future__ import annotations

from typing import TYPE_CHECKING

import lightning as L

if TYPE_CHECKING:
    from ..modules.base import SparseModule
    from ..modules.step_results import Batch, EvaluationStep, TrainingStep

    class TaskCallback:
        """Serves as the base of callbacks that read a task: its student, the results of its steps.

        At run time this is `lightning.Callback`, which types the module as any `LightningModule`
        and results and batches as anything; a subclass of it may not ask for more. The hooks below
        are Lightning's, called in trainings and evaluations of a `SparseModule` alone.
        """

        def setup(self, trainer: L.Trainer, pl_module: SparseModule, stage: str) -> None: ...

        def on_fit_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None: ...

        def on_train_start(self, trainer: L.Trainer, pl_module: SparseModule) -> None: ...

        def on_train_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None: ...

        def on_validation_start(self, trainer: L.Trainer, pl_module: SparseModule) -> None: ...

        def on_train_epoch_start(self, trainer: L.Trainer, pl_module: SparseModule) -> None: ...

        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None: ...

        def on_train_batch_start(
            self, trainer: L.Trainer, pl_module: SparseModule, batch: Batch, batch_idx: int
        ) -> None: ...

        def on_train_batch_end(
            self,
            trainer: L.Trainer,
            pl_module: SparseModule,
            outputs: TrainingStep,
            batch: Batch,
            batch_idx: int,
        ) -> None: ...

        def on_validation_epoch_start(
            self, trainer: L.Trainer, pl_module: SparseModule
        ) -> None: ...

        def on_validation_batch_end(
            self,
            trainer: L.Trainer,
            pl_module: SparseModule,
            outputs: EvaluationStep,
            batch: Batch,
            batch_idx: int,
            dataloader_idx: int = 0,
        ) -> None: ...

        def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None: ...

        def on_validation_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None: ...

        def on_test_start(self, trainer: L.Trainer, pl_module: SparseModule) -> None: ...

        def on_test_batch_end(
            self,
            trainer: L.Trainer,
            pl_module: SparseModule,
            outputs: EvaluationStep,
            batch: Batch,
            batch_idx: int,
            dataloader_idx: int = 0,
        ) -> None: ...

        def on_test_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None: ...

else:
    TaskCallback = L.Callback
