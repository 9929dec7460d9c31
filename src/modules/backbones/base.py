"""What every student is: an untouched network, a method beside it, and one kind of output."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ..methods.base import Geometry

__all__ = ["Geometry", "SparseBackbone", "SparseOutput"]


@dataclass(frozen=True)
class SparseOutput:
    """The same shape in every mode; N is what is left of the patches (all of them in training).

    Attributes:
        logits: `(B, classes)`.
        features: `(B, N, C)`, normed patch features after the last block.
        size: `(B, N)`, patches that each feature stands for; 0 is pruned.
        decisions: For each location `(B, patches)`, 1 = keep.
        counts: For each location `(B,)`, patch tokens that go on.
        ratios: For each location the keep ratio that the schedule asks for.
    """

    logits: Tensor
    features: Tensor
    size: Tensor
    decisions: list[Tensor]
    counts: list[Tensor]
    ratios: tuple[float, ...]


class SparseBackbone(nn.Module, ABC):
    """A student: `backbone` is pure timm, `method` holds all that is new."""

    expects: ClassVar[str]

    def __init__(self, backbone: nn.Module, method: nn.Module) -> None:
        """Take both as they are; neither is changed."""
        super().__init__()
        self.backbone = backbone
        self.method = method

    @staticmethod
    @abstractmethod
    def accepts(network: nn.Module) -> bool:
        """Whether this family walks `network`."""

    @staticmethod
    @abstractmethod
    def check(network: nn.Module) -> None:
        """Raise an `InputError` if `network` is of this family but has a part that is not."""

    @staticmethod
    @abstractmethod
    def geometry(network: nn.Module) -> Geometry:
        """The sizes by which methods are made."""

    @abstractmethod
    def forward(self, images: Tensor) -> SparseOutput:
        """Classify `images (B, 3, S, S)`."""
