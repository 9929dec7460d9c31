"""What segmentation and detection share: a head on the student's maps, whole networks, metrics."""

from __future__ import annotations

import logging
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from .base import SparseModule, kept_shares
from .build import instantiate
from .checkpoints import head_in, read_file
from .complexity import count_gmacs, count_params_m
from .heads.base import DenseOutput, EveryPosition, WholeNetwork
from .throughput import compare_speed

log = logging.getLogger(__name__)


class DenseModule(SparseModule):
    """A student without a classifier, that takes images of any size, and a head on its maps.

    A checkpoint given as `backbone.weights` fills the head too, if it is of the same kind.
    """

    def __init__(self, *, head: dict[str, Any], num_classes: int, **parts: Any) -> None:
        """Build student and head.

        Args:
            head: As in `conf/head`.
            num_classes: Classes that the head tells apart.
            **parts: `backbone`, `method`, `schedule`, `loss`, `optimizer`, `teacher`.
        """
        super().__init__(num_classes=0, any_size=True, **parts)
        self.head = instantiate(head, levels=self.student.levels(), num_classes=num_classes)
        file = parts["backbone"].get("weights")
        if file:
            self._load_head(file)
        self.metrics = nn.ModuleDict(
            {f"{split}_split": self.make_metrics() for split in ("val", "test")}
        )

    def _load_head(self, file: str) -> None:
        weights = head_in(read_file(file), file)
        if not weights:
            log.warning(f"{file} has no head for this task: the head is new.")
            return
        own = self.head.state_dict()
        strange = sorted(
            key
            for key in own.keys() | weights.keys()
            if key not in own or key not in weights or own[key].shape != weights[key].shape
        )
        if strange:
            raise InputError(
                f"The head in {file} is another than this one (head.{strange[0]} and "
                f"{len(strange) - 1} more differ): choose the head, its channels and the data "
                "that it was trained with."
            )
        self.head.load_state_dict(weights)

    @property
    def whole(self) -> WholeNetwork:
        """Student and head as one."""
        return WholeNetwork(self.student, self.head)

    def forward(self, images: Tensor, target: Any = None) -> DenseOutput:
        """Predict from `images (B, 3, H, W)`; a detector in training needs its `target`."""
        output: DenseOutput = self.head(self.student.with_maps(images), images, target)
        return output

    @abstractmethod
    def make_metrics(self) -> nn.Module:
        """The torchmetrics of one split."""

    @abstractmethod
    def update_metrics(self, metrics: Any, output: DenseOutput, target: Any) -> None:
        """Count one batch."""

    @abstractmethod
    def percentages(self, metrics: Any) -> dict[str, Tensor]:
        """What is logged, by name without the split."""

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Compare one batch with the truth."""
        return self._evaluate("val", batch)

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Compare one batch with the truth."""
        return self._evaluate("test", batch)

    def _evaluate(self, split: str, batch: Any) -> dict[str, Any]:
        images, target = self.images_and_target(batch)
        output: DenseOutput = self(images)
        self.update_metrics(self.metrics[f"{split}_split"], output, target)
        return {"output": output, "kept": kept_shares(output)}

    def on_validation_epoch_end(self) -> None:
        """Log in percent."""
        self._log_percentages("val")

    def on_test_epoch_end(self) -> None:
        """Log in percent."""
        self._log_percentages("test")

    def _log_percentages(self, split: str) -> None:
        metrics: Any = self.metrics[f"{split}_split"]
        values = self.percentages(metrics)
        self.log_dict({f"{split}/{name}": value for name, value in values.items()}, prog_bar=True)
        metrics.reset()


def whole_cost(whole: WholeNetwork, image_size: int) -> dict[str, float]:
    """`whole_gmacs`, `whole_gmacs_share` of dense, and `whole_params_m`.

    Args:
        whole: Student and head.
        image_size: Side of the square input, in pixels.
    """
    sparse = count_gmacs(EveryPosition(whole), image_size)
    dense = count_gmacs(EveryPosition(whole.dense_copy()), image_size)
    params = count_params_m(whole)
    return {"whole_gmacs": sparse, "whole_gmacs_share": sparse / dense, "whole_params_m": params}


def whole_speed(
    whole: WholeNetwork, image_size: int, batch_size: int, **turns: Any
) -> dict[str, float]:
    """`whole_images_per_s` and `whole_speedup` over dense, timed in turns.

    Args:
        whole: Student and head, on the device to time on.
        image_size: Side of the square input, in pixels.
        batch_size: Images in the timed batch.
        **turns: As `compare_speed` takes them.
    """
    device = next(whole.parameters()).device
    images = torch.randn(batch_size, 3, image_size, image_size, device=device)
    networks: dict[str, nn.Module] = {"sparse": whole, "dense": whole.dense_copy()}
    speed = compare_speed(networks, [images], **turns)
    return {
        "whole_images_per_s": speed["sparse"].images_per_s,
        "whole_speedup": speed["sparse"].over(speed["dense"])[0],
    }
