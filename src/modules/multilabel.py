"""Trains and evaluates students on multi-label classification: images with several classes."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torchmetrics import Metric as TorchMetric
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryF1Score
from torchmetrics.functional.classification import binary_average_precision
from torchmetrics.utilities import dim_zero_cat
from typing_extensions import Unpack, override

from ..datamodules.label_sets import LABELS, TARGET_WORDS
from .backbones.base import SparseOutput
from .base import Metric, SparseModule
from .multilabel_losses import is_known
from .task_settings import TaskSettings

_UNKNOWN = -1  # torchmetrics takes whole numbers


@final
class SparseMultilabelClassifier(SparseModule):
    """Trains and evaluates a student that decides for each class whether an image has it.

    Targets are `(B, classes)` of 1, 0, and -1 or NaN where nobody knows, which counts neither in
    the loss nor in the metrics. Validation logs `val/map`, the mean over classes of the average
    precision, and `val/f1`, the F1 score over all images and classes at a probability of 0.5, both
    in percent. A class that no validation image is known to have is left out of the mean.
    """

    task = "multilabel"
    target = LABELS
    target_words = TARGET_WORDS
    natural_loss = "multilabel"
    judged_by = Metric("map", "mAP (%)")
    predictions = "src.predictions.label_sets.LabelSetTable"

    def __init__(self, *, num_classes: int, **parts: Unpack[TaskSettings]) -> None:
        """Build student, loss and metrics.

        Args:
            num_classes: Outputs of the network, one for each class.
            **parts: Arguments of the base class.
        """
        super().__init__(num_classes=num_classes, **parts)
        self.save_hyperparameters(ignore=["checkpoint"])
        self.prepare_metrics()

    @override
    def images_and_target(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        images, target = batch
        return images, target

    @override
    def metric_names(self) -> list[str]:
        return ["map", "f1"]

    @override
    def make_metrics(self) -> MetricCollection:
        metrics: dict[str, TorchMetric | MetricCollection] = {
            "map": MeanAveragePrecision(),
            "f1": BinaryF1Score(ignore_index=_UNKNOWN),
        }
        return MetricCollection(metrics, compute_groups=False)

    @override
    def update_metrics(
        self, metrics: MetricCollection, output: SparseOutput, target: Tensor
    ) -> None:
        labels = torch.where(is_known(target), target, _UNKNOWN).long()
        metrics.update(output.logits.float().sigmoid(), labels)

    @override
    def percentages(self, metrics: MetricCollection) -> dict[str, Tensor]:
        return {name: 100 * value for name, value in metrics.compute().items()}


class MeanAveragePrecision(TorchMetric):
    """Averages torchmetrics' average precision over classes.

    Its own mean (`MultilabelAveragePrecision`) takes a class without a positive image for 0, and
    fails on one without a known label: both are left out here. NaN if no class is left.
    """

    full_state_update = False
    scores: list[Tensor]
    labels: list[Tensor]

    def __init__(self) -> None:
        """Start without images."""
        super().__init__()
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("labels", default=[], dist_reduce_fx="cat")

    @override
    def update(self, scores: Tensor, labels: Tensor) -> None:
        """Add the predictions and labels of a batch.

        Args:
            scores: `(B, classes)`, probabilities.
            labels: `(B, classes)`, 1, 0, or -1 if unknown.
        """
        self.scores.append(scores)
        self.labels.append(labels)

    @override
    def compute(self) -> Tensor:
        scores, labels = dim_zero_cat(self.scores), dim_zero_cat(self.labels)
        values = [
            binary_average_precision(score, label, ignore_index=_UNKNOWN)
            for score, label in zip(scores.T, labels.T, strict=True)
            if (label == 1).any()
        ]
        return torch.stack(values).mean() if values else scores.new_tensor(torch.nan)
