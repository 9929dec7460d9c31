"""Semantic segmentation."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from ..datamodules.targets import IGNORED
from ..errors import InputError
from .dense import DenseModule
from .heads.base import DenseOutput, WholeNetwork


@final
class SparseSegmenter(DenseModule):
    """A student with one label for each pixel.

    Validation logs `val/miou`, the mean over classes of intersection over union in the whole data
    set, and `val/pixel_acc`, both in percent.
    """

    target = "mask"
    target_words = {"mask": "a class for each pixel"}
    natural_loss = "segmentation"

    def __init__(
        self, *, num_classes: int, present_classes: list[int] | None = None, **parts: Any
    ) -> None:
        """As the base; classes that do not occur count for nothing in the mean.

        Args:
            num_classes: Outputs for each pixel.
            present_classes: Not read.
            **parts: `head`, `backbone`, `method`, `schedule`, `loss`, `optimizer`, `teacher`.

        Raises:
            InputError: If there are too few classes to tell apart.
        """
        if num_classes < 2:
            raise InputError(
                f"task=segmentation has num_classes={num_classes}: it must be 2 or more, as the "
                "background counts too."
            )
        self.num_classes = num_classes
        super().__init__(num_classes=num_classes, **parts)
        self.save_hyperparameters()

    def teaching(self) -> WholeNetwork:
        """The dense network with the same head."""
        return self.whole

    def validation_metrics(self) -> list[str]:
        """Both."""
        return ["val/miou", "val/pixel_acc"]

    def images_and_target(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Images and masks `(B, S, S)`."""
        images, targets = batch
        return images, torch.stack([target["mask"] for target in targets])

    def make_metrics(self) -> MetricCollection:
        """Over all pixels of the data set."""
        options: dict[str, Any] = {"num_classes": self.num_classes, "ignore_index": IGNORED}
        return MetricCollection(
            {
                "miou": MulticlassJaccardIndex(average="macro", **options),
                "pixel_acc": MulticlassAccuracy(average="micro", **options),
            },
            compute_groups=False,
        )

    def update_metrics(self, metrics: Any, output: DenseOutput, target: Tensor) -> None:
        """Count pixels."""
        metrics.update(output.logits.argmax(dim=1), target)

    def percentages(self, metrics: Any) -> dict[str, Tensor]:
        """Both."""
        return {name: 100 * value for name, value in metrics.compute().items()}
