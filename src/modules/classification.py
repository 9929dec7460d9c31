"""Image classification."""

from __future__ import annotations

import logging
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from .base import SparseModule, kept_shares

log = logging.getLogger(__name__)


@final
class SparseClassifier(SparseModule):
    """A student with one label for each image.

    Validation logs `val/acc1` and `val/acc5` in percent. Where the data holds only some of the
    network's classes, `val/acc1_present` is the accuracy with the logits restricted to those.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        present_classes: list[int] | None = None,
        **parts: Any,
    ) -> None:
        """As the base.

        Args:
            num_classes: Outputs of the network.
            present_classes: Outputs that occur in the data; None for all.
            **parts: `backbone`, `method`, `schedule`, `loss`, `optimizer`.
        """
        super().__init__(num_classes=num_classes, **parts)
        self.save_hyperparameters()
        self.present_classes = present_classes
        if num_classes == 1:
            log.warning(
                "The data has one class, so that every answer is right: sort images into one "
                "folder for each class to learn to tell them apart."
            )
        counted = max(num_classes, 2)  # torchmetrics' least; a class that never occurs is not read
        accuracies: dict[str, Any] = {
            f"acc{k}": MulticlassAccuracy(counted, top_k=k, average="micro")
            for k in (1, 5)
            if k <= num_classes
        }
        if present_classes:
            accuracies["acc1_present"] = MulticlassAccuracy(counted, average="micro")
        metrics = MetricCollection(accuracies, compute_groups=False)
        self.metrics: Any = nn.ModuleDict(
            {f"{split}_split": metrics.clone(prefix=f"{split}/") for split in ("val", "test")}
        )

    def validation_metrics(self) -> list[str]:
        """The accuracies."""
        return [f"val/{name}" for name in self.metrics["val_split"].keys(keep_base=True)]

    def images_and_target(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Images and labels as they come."""
        images, target = batch
        return images, target

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Count right answers."""
        return self._evaluate("val", batch)

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Count right answers."""
        return self._evaluate("test", batch)

    def _evaluate(self, split: str, batch: Any) -> dict[str, Any]:
        images, target = batch
        output = self.student(images)
        logits = output.logits
        if logits.shape[1] == 1:
            logits = F.pad(logits, (0, 1), value=-torch.inf)  # the class that never occurs
        for name, metric in self.metrics[f"{split}_split"].items(keep_base=True):
            present = self.present_classes if name == "acc1_present" else None
            metric.update(restrict(logits, present), target)
        return {"output": output, "kept": kept_shares(output)}

    def on_validation_epoch_end(self) -> None:
        """Log the accuracies in percent."""
        self._log_accuracy("val")

    def on_test_epoch_end(self) -> None:
        """Log the accuracies in percent."""
        self._log_accuracy("test")

    def _log_accuracy(self, split: str) -> None:
        metrics = self.metrics[f"{split}_split"]
        values = {name: 100 * value for name, value in metrics.compute().items()}
        self.log_dict(values, prog_bar=True)
        metrics.reset()


def restrict(logits: Tensor, classes: list[int] | None) -> Tensor:
    """`logits (B, classes)` with all but `classes` at -inf; None restricts nothing."""
    if classes is None:
        return logits
    restricted = torch.full_like(logits, -torch.inf)
    restricted[:, classes] = logits[:, classes]
    return restricted
