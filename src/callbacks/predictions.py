"""Writes the predictions of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import lightning as L
from typing_extensions import override

from ..datamodules.base import ImageDataModule
from ..modules.base import SparseModule
from ..modules.step_results import Batch, EvaluationStep
from ..predictions.base import Options, Predicted, Predictions, predictions_of
from ..predictions.labels import EvaluatedLabels
from .output import SingleProcessOutput


class PredictionWriter(SingleProcessOutput):
    """Writes what the task predicts of every image of a test, in its order.

    For images with one label each that is a csv file, `image,label,prediction,confidence`, and
    `prediction_present` where the data holds only some of the network's classes. It appears when
    the test has ended without an error; `TableWriter` says how the names of images are written.
    """

    setting = "predictions"

    def __init__(self, path: str, names: Iterable[str] | None = None) -> None:
        """Write to `path`; `names` are those of the images, by default from the data."""
        super().__init__(path)
        self.names: Iterator[str] | None = iter(names) if names else None
        self._kind: type[Predictions] = EvaluatedLabels
        self._options = Options()
        self._size: Callable[[int], tuple[int, int] | None] = lambda number: None
        self._written: Predictions = self._kind(self.path, self._options)

    @override
    def prepare(self, trainer: L.Trainer, module: SparseModule, data: ImageDataModule) -> None:
        super().prepare(trainer, module, data)
        names = data.val_filenames()
        self.names = iter(names) if names else None
        self._kind = predictions_of(module).of_evaluation()
        self._options = Options(data.class_names, data.present_classes)
        self._size = data.val_size

    @override
    def on_test_start(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        self._written = self._kind(self.path, self._options)
        self._written.__enter__()
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
        images, target = batch
        frame = images.shape[-2], images.shape[-1]
        numbers = range(self._count, self._count + len(images))
        self._written.write(
            [
                Predicted(
                    str(number) if self.names is None else next(self.names),
                    self._size(number) or frame[::-1],
                    frame,
                )
                for number in numbers
            ],
            outputs["output"],
            target,
        )
        self._count += len(images)

    @override
    def on_test_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        self._written.__exit__(None, None, None)

    def on_exception(
        self, trainer: L.Trainer, pl_module: SparseModule, exception: BaseException
    ) -> None:
        """Discard the unfinished file, so that an earlier one stays."""
        leave = SystemExit()  # no fault of the file, which would name it
        self._written.__exit__(SystemExit, leave, None)
