"""Trains and evaluates students on image classification."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import ClassVar, final

import torch
import torchmetrics
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy
from typing_extensions import Unpack, override

from .backbones.base import SparseOutput
from .base import Metric, SparseModule
from .task_settings import TaskSettings

log = logging.getLogger(__name__)


class LabelModule(SparseModule):
    """Trains and evaluates a student on inputs with one label each.

    Validation logs `val/acc1` and `val/acc5` in percent. Where the data holds only some of the
    network's classes, `val/acc1_present` is the accuracy with the logits restricted to those.
    """

    judged_by = Metric("acc1", "top-1 (%)")
    predictions: ClassVar[str | None] = "src.predictions.labels.LabelTable"

    def __init__(self, *, num_classes: int, **parts: Unpack[TaskSettings]) -> None:
        """Build student, loss and metrics.

        Args:
            num_classes: Outputs of the network.
            **parts: Arguments of the base class.
        """
        super().__init__(num_classes=num_classes, **parts)
        self.save_hyperparameters(ignore=["checkpoint"])
        self.num_classes = num_classes
        if num_classes == 1:
            log.warning(
                "The data has one class, so that every answer is right: sort images into one "
                "folder for each class to learn to tell them apart."
            )
        self.prepare_metrics()

    @override
    def metric_names(self) -> list[str]:
        names = [f"acc{k}" for k in (1, 5) if k <= self.num_classes]
        return [*names, "acc1_present"] if self.present_classes else names

    @override
    def images_and_target(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        images, target = batch
        return images, target

    @override
    def make_metrics(self) -> MetricCollection:
        counted = max(self.num_classes, 2)  # torchmetrics needs two; the second never occurs
        accuracies: dict[str, torchmetrics.Metric | MetricCollection] = {
            name: MulticlassAccuracy(counted, top_k=5 if name == "acc5" else 1, average="micro")
            for name in self.metric_names()
        }
        return MetricCollection(accuracies, compute_groups=False)

    @override
    def update_metrics(
        self, metrics: MetricCollection, output: SparseOutput, target: Tensor
    ) -> None:
        logits = output.logits
        if logits.shape[1] == 1:
            logits = F.pad(logits, (0, 1), value=-torch.inf)  # the class that never occurs
        for name, metric in metrics.items():
            present = self.present_classes if name == "acc1_present" else None
            metric.update(restrict(logits, present), target)

    @override
    def percentages(self, metrics: MetricCollection) -> dict[str, Tensor]:
        return {name: 100 * value for name, value in metrics.compute().items()}


@final
class SparseClassifier(LabelModule):
    """Trains and evaluates a student on images with one label each."""

    task = "classification"


def restrict(logits: Tensor, classes: Sequence[int] | None) -> Tensor:
    """Return `logits (B, classes)` with all but `classes` at -inf; None restricts nothing."""
    if classes is None:
        return logits
    restricted = torch.full_like(logits, -torch.inf)
    restricted[:, list(classes)] = logits[:, list(classes)]
    return restricted
