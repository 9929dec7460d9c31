"""Writes a line with the prediction for each evaluated image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import lightning as L
from typing_extensions import override

from ..datamodules.base import ImageDataModule
from ..files import atomic_file, naming
from ..modules.base import SparseModule
from ..modules.heads.base import of_student
from ..modules.step_results import Batch, EvaluationStep
from ..reports.tables import TableWriter
from .output import LabelOutput


class PredictionWriter(LabelOutput):
    """Writes `image,label,prediction,confidence` for every image of a test, in its order.

    The file appears when the test has ended without an error; `TableWriter` says how the names of
    images are written.
    """

    setting = "predictions"

    def __init__(self, path: str, names: Iterable[str] | None = None) -> None:
        """Write to `path`; `names` are those of the images, by default from the data."""
        super().__init__(path)
        self._open = ExitStack()
        self.names: Iterator[str] | None = iter(names) if names else None

    @override
    def prepare(self, trainer: L.Trainer, module: SparseModule, data: ImageDataModule) -> None:
        super().prepare(trainer, module, data)
        names = data.val_filenames()
        self.names = iter(names) if names else None

    @override
    def on_test_start(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        partial = self._open.enter_context(atomic_file(self.path))
        file = self._open.enter_context(partial.open("w", newline="", encoding="utf-8"))
        self._table = TableWriter(file)
        self._table.write(["image", "label", "prediction", "confidence"])
        self._count = 0

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
        confidence, prediction = of_student(outputs["output"]).logits.float().softmax(-1).max(-1)
        rows = zip(batch[1].tolist(), prediction.tolist(), confidence.tolist(), strict=True)
        for label, predicted, sure in rows:
            name = self._count if self.names is None else next(self.names)
            with naming(self.path):
                self._table.write([name, label, predicted, f"{sure:.4f}"])
            self._count += 1

    @override
    def on_test_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        self._open.close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: SparseModule, exception: BaseException
    ) -> None:
        """Discard the unfinished file, so that an earlier one stays."""
        leave = SystemExit()  # no fault of the file, which would name it
        self._open.__exit__(SystemExit, leave, None)
