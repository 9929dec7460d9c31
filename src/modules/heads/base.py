"""What every head on a student's maps is, and a student with one as a single network."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ..backbones.base import SparseBackbone, SparseOutput


@dataclass(frozen=True)
class DenseOutput(SparseOutput):
    """A student's output with what a head says of its maps.

    Attributes:
        logits: `(B, classes, H, W)` of a segmentation, at the images' resolution; a detector
            leaves the backbone's own.
        losses: Of a detector in training, by name.
        detections: Of a detector at inference, for each image `boxes (D, 4)` as left, top, right,
            bottom in pixels, `scores (D,)`, `labels (D,)` and, of Mask R-CNN, `masks (D, 1, H, W)`.
    """

    losses: dict[str, Tensor] = field(default_factory=dict)
    detections: tuple[dict[str, Tensor], ...] = ()


class Head(nn.Module, ABC):
    """Reads the maps of `SparseBackbone.with_maps`; made from the `levels` that they have."""

    @abstractmethod
    def forward(self, output: SparseOutput, images: Tensor, target: Any = None) -> DenseOutput:
        """Predict.

        Args:
            output: Of `images`, with maps.
            images: `(B, 3, H, W)`.
            target: What a detector learns from in training, for each image.
        """

    @abstractmethod
    def every_position(self, maps: tuple[Tensor, ...]) -> Any:
        """All that costs, without any choice that depends on data: what is counted as GMACs."""


class WholeNetwork(nn.Module):
    """A student and its head, to be timed, counted or copied as one."""

    def __init__(self, student: SparseBackbone, head: Head) -> None:
        """Take both as they are."""
        super().__init__()
        self.student = student
        self.head = head

    def forward(self, images: Tensor, target: Any = None) -> DenseOutput:
        """Predict from `images (B, 3, H, W)`."""
        output: DenseOutput = self.head(self.student.with_maps(images), images, target)
        return output

    def dense_copy(self) -> WholeNetwork:
        """The same as it stands, apart and dense."""
        return WholeNetwork(self.student.dense_copy(), copy.deepcopy(self.head))

    def as_teacher(self) -> WholeNetwork:
        """Put into evaluation mode."""
        self.student.as_teacher()
        return self.eval()


class EveryPosition(nn.Module):
    """A whole network's cost as a network, for `count_gmacs`."""

    def __init__(self, whole: WholeNetwork) -> None:
        """Count `whole`."""
        super().__init__()
        self.whole = whole

    def forward(self, images: Tensor) -> Any:
        """All that costs on `images (B, 3, H, W)`."""
        return self.whole.head.every_position(self.whole.student.with_maps(images).maps)
