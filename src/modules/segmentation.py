"""Trains and evaluates students on semantic segmentation."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex
from typing_extensions import Unpack, override

from ..datamodules.targets import IGNORED
from ..errors import InputError
from .base import Metric
from .dense import DenseModule
from .heads.base import DenseOutput, WholeNetwork
from .task_settings import DenseSettings


@final
class SparseSegmenter(DenseModule):
    """Trains and evaluates a student on images with one label for each pixel.

    Validation logs `val/miou`, the mean over classes of intersection over union on the entire data
    set, and `val/pixel_acc`, both in percent.
    """

    target = "mask"
    target_words = {"mask": "a class for each pixel"}
    natural_loss = "segmentation"
    judged_by = Metric("miou", "mIoU (%)")
    predictions = "src.predictions.masks.MaskFolder"

    def __init__(self, *, num_classes: int, **parts: Unpack[DenseSettings]) -> None:
        """Build student, head, loss and metrics; classes that do not occur are left out of means.

        Args:
            num_classes: Outputs for each pixel.
            **parts: Arguments of the base class.

        Raises:
            InputError: If there are fewer than two classes.
        """
        if num_classes < 2:
            raise InputError(
                f"task=segmentation has num_classes={num_classes}: it must be 2 or more, as the "
                "background counts too."
            )
        self.num_classes = num_classes
        super().__init__(num_classes=num_classes, **parts)
        self.save_hyperparameters(ignore=["checkpoint"])

    @override
    def teaching(self) -> WholeNetwork:
        return self.whole

    @override
    def metric_names(self) -> list[str]:
        return ["miou", "pixel_acc"]

    def images_and_target(
        self, batch: tuple[Tensor, list[dict[str, Tensor]]]
    ) -> tuple[Tensor, Tensor]:
        """Return images and masks `(B, S, S)`."""
        images, targets = batch
        return images, torch.stack([target["mask"] for target in targets])

    @override
    def make_metrics(self) -> MetricCollection:
        miou = MulticlassJaccardIndex(self.num_classes, average="macro", ignore_index=IGNORED)
        accuracy = MulticlassAccuracy(self.num_classes, average="micro", ignore_index=IGNORED)
        return MetricCollection({"miou": miou, "pixel_acc": accuracy}, compute_groups=False)

    @override
    def update_metrics(
        self, metrics: MetricCollection, output: DenseOutput, target: Tensor
    ) -> None:
        assert output.logits is not None
        metrics.update(output.logits.argmax(dim=1), target)

    @override
    def percentages(self, metrics: MetricCollection) -> dict[str, Tensor]:
        return {name: 100 * value for name, value in metrics.compute().items()}
