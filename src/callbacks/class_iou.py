"""Writes the intersection over union of each class of a segmentation."""

from __future__ import annotations

from collections.abc import Callable

import lightning as L
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix
from typing_extensions import override

from ..datamodules.base import ImageDataModule
from ..datamodules.targets import IGNORED
from ..errors import InputError
from ..modules.base import SparseModule
from ..modules.heads.base import DenseOutput
from ..modules.step_results import Batch, EvaluationStep
from ..reports.tables import write_csv
from .output import SingleProcessOutput


class ClassIoU(SingleProcessOutput):
    """Writes a csv with a line for each class.

    `iou`, `recall` and `precision` are in percent and of the pixels of all images, empty where a
    class neither occurs nor is predicted; `share` is that of the class in the labelled pixels. The
    mean of `iou` over classes is `miou`.
    """

    setting = "class_iou"

    @override
    def prepare(self, trainer: L.Trainer, module: SparseModule, data: ImageDataModule) -> None:
        super().prepare(trainer, module, data)
        if module.target != "mask":
            raise InputError(
                f"{self.setting}={self.path} is for a class for each pixel, task=segmentation: "
                "leave it out."
            )
        self._name: Callable[[int], str] = data.class_name
        self._classes = data.num_classes

    @override
    def on_test_start(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        self._pixels = torch.zeros(self._classes, self._classes, dtype=torch.long)

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
        output = outputs["output"]
        assert isinstance(output, DenseOutput)
        assert output.logits is not None
        truth = torch.stack([target["mask"] for target in batch[1]])
        found = output.logits.argmax(dim=1)
        self._pixels += multiclass_confusion_matrix(
            found, truth, self._classes, ignore_index=IGNORED, validate_args=False
        ).cpu()

    @override
    def on_test_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        rows = [{"class": self._name(n)} | row for n, row in enumerate(_rows(self._pixels))]
        write_csv(rows, self.path, list(rows[0]))


def _rows(pixels: Tensor) -> list[dict[str, float | None]]:
    """Return the numbers of each class from how many `pixels (truth, prediction)` there are."""
    right, truth, found = pixels.diag(), pixels.sum(dim=1), pixels.sum(dim=0)
    parts = {
        "iou": (right, truth + found - right),
        "recall": (right, truth),
        "precision": (right, found),
        "share": (truth, truth.sum().expand_as(truth)),
    }
    shares = {name: 100 * one.double() / all_ for name, (one, all_) in parts.items()}
    return [
        {
            name: round(share[n].item(), 2) if share[n].isfinite() else None
            for name, share in shares.items()
        }
        for n in range(len(pixels))
    ]
