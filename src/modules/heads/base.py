"""Defines heads on a student's maps, and a student with its head as a single network."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...datamodules.targets import Target
from ...measure.complexity import count_gmacs, count_params_m
from ...measure.throughput import compare_speed
from ..backbones.base import SparseBackbone, SparseOutput
from ..saving.hub import push
from ..saving.write import save

# Labels `(B,)` or `(B, classes)`, masks `(B, H, W)`; for a detector a target for each image.
TaskTarget = Tensor | list[Target]


@dataclass(frozen=True)
class DenseOutput:
    """Holds the predictions of a head and the output of the student that it reads.

    Attributes:
        backbone: The student's own output.
        logits: `(B, classes, H, W)` of a segmentation, at the images' resolution; None of a
            detector.
        losses: A detector's losses in training, by name.
        detections: A detector's results at inference: for each image `boxes (D, 4)` as left, top,
            right, bottom in pixels, `scores (D,)`, `labels (D,)` and, of Mask R-CNN, `masks (D, 1,
            H, W)`.
    """

    backbone: SparseOutput
    logits: Tensor | None = None
    losses: dict[str, Tensor] = field(default_factory=dict)
    detections: tuple[dict[str, Tensor], ...] = ()


Output = SparseOutput | DenseOutput


def of_student(output: Output) -> SparseOutput:
    """Return the student's own part of an output, with or without a head on its maps."""
    return output.backbone if isinstance(output, DenseOutput) else output


def undefined(output: Output) -> Tensor:
    """Return of which images `(B,)` a logit is no number; a detector has none."""
    if output.logits is None or not output.logits.numel():
        return torch.zeros(len(of_student(output).size), dtype=torch.bool)
    return output.logits.flatten(1).amax(1).isnan()  # the largest of a NaN and others is NaN


class Head(nn.Module, ABC):
    """Reads the maps of `SparseBackbone.with_maps`; made from the `levels` that they have.

    Attributes:
        task: The task that it serves, by its name in `conf/task`.
        settings: Those of `conf/head` that made it; None if it was made otherwise.
        num_classes: Number of classes, a detector's background included.
        not_exported: Why it cannot be written as a graph; empty if it can.
    """

    task: ClassVar[str]
    not_exported: ClassVar[str] = ""
    settings: Mapping[str, object] | None = None
    num_classes: int = 0

    @abstractmethod
    def forward(
        self, output: SparseOutput, images: Tensor, target: TaskTarget | None = None
    ) -> DenseOutput:
        """Predict from the student's maps.

        Args:
            output: The student's output for `images`, with maps.
            images: `(B, 3, H, W)`.
            target: What a detector learns from in training, for each image.
        """

    @abstractmethod
    def every_position(self, maps: tuple[Tensor, ...]) -> object:
        """Run all layers, without choices that depend on data, to count GMACs."""


class WholeNetwork(nn.Module):
    """Joins a student and its head, to be timed, counted or copied as one network."""

    def __init__(self, student: SparseBackbone, head: Head) -> None:
        """Keep both, unchanged."""
        super().__init__()
        self.student = student
        self.head = head

    def forward(self, images: Tensor, target: TaskTarget | None = None) -> DenseOutput:
        """Predict from `images (B, 3, H, W)`."""
        output: DenseOutput = self.head(self.student.with_maps(images), images, target)
        return output

    def save(self, path: str | Path, network_options: Mapping[str, object] | None = None) -> None:
        """Write student and head to one file, as `SparseBackbone.save` writes a student."""
        save(self.student, path, self.head, network_options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload student and head; arguments as `SparseBackbone.push_to_hub`."""
        return push(self.student, repo_id, head=self.head, **options)

    def dense_copy(self) -> WholeNetwork:
        """Return a copy whose student keeps every token."""
        return WholeNetwork(self.student.dense_copy(), copy.deepcopy(self.head))

    def as_teacher(self) -> WholeNetwork:
        """Put both into evaluation mode and return itself."""
        self.student.as_teacher()
        return self.eval()


class EveryPosition(nn.Module):
    """Wraps a student with its head as the module that `count_gmacs` runs."""

    def __init__(self, whole: WholeNetwork) -> None:
        """Wrap `whole`."""
        super().__init__()
        self.whole = whole

    def forward(self, images: Tensor) -> object:
        """Run student and head on `images (B, 3, H, W)`."""
        return self.whole.head.every_position(self.whole.student.with_maps(images).maps)


def whole_cost(whole: WholeNetwork, image_size: int) -> dict[str, float]:
    """Return `whole_gmacs`, `whole_gmacs_share` of dense, and `whole_params_m`.

    Args:
        whole: Student and head.
        image_size: Side of the square input, in pixels.
    """
    sparse = count_gmacs(EveryPosition(whole), image_size)
    dense = count_gmacs(EveryPosition(whole.dense_copy()), image_size)
    params = count_params_m(whole)
    return {"whole_gmacs": sparse, "whole_gmacs_share": sparse / dense, "whole_params_m": params}


def whole_speed(
    whole: WholeNetwork, image_size: int, batch_size: int, *, repeats: int = 7, seconds: float = 0.4
) -> dict[str, float]:
    """Return `whole_images_per_s` and `whole_speedup` over dense, timed in turns.

    Args:
        whole: Student and head, on the device to time on.
        image_size: Side of the square input, in pixels.
        batch_size: Images in the timed batch.
        repeats: Number of turns.
        seconds: Duration of one network's turn.
    """
    device = next(whole.parameters()).device
    images = torch.randn(batch_size, 3, image_size, image_size, device=device)
    networks: dict[str, nn.Module] = {"sparse": whole, "dense": whole.dense_copy()}
    speed = compare_speed(networks, [images], repeats, seconds)
    return {
        "whole_images_per_s": speed["sparse"].images_per_s,
        "whole_speedup": speed["sparse"].over(speed["dense"])[0],
    }
