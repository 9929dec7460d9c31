"""Trains and evaluates students on object detection and instance segmentation."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, final

import torch
import torchmetrics
from torch import Tensor, nn
from typing_extensions import Unpack, override

from ..errors import InputError
from .base import Metric
from .dense import DenseModule
from .heads.base import DenseOutput
from .task_settings import DenseSettings

if TYPE_CHECKING:
    from .heads.detection import DetectionHead


@final
class SparseDetector(DenseModule):
    """Trains and evaluates a student with a detector on its maps.

    Validation logs COCO's average precision in percent: `val/box_ap` and `val/box_ap50`, and with
    Mask R-CNN `val/mask_ap` and `val/mask_ap50`.
    """

    target = "boxes"
    natural_loss = "detection"
    judged_by = Metric("box_ap", "box AP (%)")
    predictions = "src.predictions.boxes.BoxLines"
    head: DetectionHead

    def __init__(self, *, num_classes: int, **parts: Unpack[DenseSettings]) -> None:
        """Build student, head, loss and metrics.

        Args:
            num_classes: Number of classes, the background (class 0) included.
            **parts: Arguments of the base class.
        """
        if not find_spec("pycocotools"):
            raise InputError(
                "task=detection needs pycocotools to measure precision: "
                "pip install 'tokenthrift[dense]'."
            )
        super().__init__(num_classes=num_classes, **parts)
        self.save_hyperparameters(ignore=["checkpoint"])

    @override
    def metric_names(self) -> list[str]:
        kinds = ("box", "mask") if self.head.has_masks else ("box",)
        return [f"{kind}_{name}" for kind in kinds for name in ("ap", "ap50")]

    @override
    def images_and_target(
        self, batch: tuple[Tensor, list[dict[str, Tensor]]]
    ) -> tuple[Tensor, list[dict[str, Tensor]]]:
        images, targets = batch
        return images, targets

    def make_metrics(self) -> _Metrics:
        """Make COCO's average precision for boxes and, with Mask R-CNN, for masks."""
        from torchmetrics.detection import MeanAveragePrecision

        metrics: dict[str, nn.Module] = {"box": MeanAveragePrecision(iou_type="bbox")}
        if self.head.has_masks:
            metrics["mask"] = MeanAveragePrecision(iou_type="segm")
        return _Metrics(metrics)

    def update_metrics(
        self, metrics: _Metrics, output: DenseOutput, target: list[dict[str, Tensor]]
    ) -> None:
        """Keep a batch's detections until the end."""
        names = ("boxes", "labels", "iscrowd", "masks")
        truth = [{name: image[name] for name in names if name in image} for image in target]
        found = [dict(image) for image in output.detections]
        for image in found:
            if "masks" in image:
                image["masks"] = image["masks"][:, 0] > 0.5
        for metric in metrics.by_kind().values():
            metric.update(found, truth)

    def percentages(self, metrics: _Metrics) -> dict[str, Tensor]:
        """Return the precision averaged over overlaps from 0.5 to 0.95, and at 0.5.

        NaN if the images have no objects to be found.
        """
        values = {}
        for kind, metric in metrics.by_kind().items():
            computed = metric.compute()
            for name, key in (("ap", "map"), ("ap50", "map_50")):
                share = computed[key]  # -1 without objects
                values[f"{kind}_{name}"] = torch.where(share < 0, torch.nan, 100 * share)
        return values


class _Metrics(nn.ModuleDict):
    def by_kind(self) -> dict[str, torchmetrics.Metric]:
        """Return the metrics of `box` and, with masks, of `mask`."""
        return {k: m for k, m in self.items() if isinstance(m, torchmetrics.Metric)}

    def reset(self) -> None:
        """Discard all batches, as torchmetrics does."""
        for metric in self.by_kind().values():
            metric.reset()
