"""What every student is: an untouched network, a method beside it, and one kind of output."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ..methods.base import Geometry, Method
from ..methods.dense import Dense

__all__ = ["Geometry", "Level", "SparseBackbone", "SparseOutput", "timm_names"]


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
        source: `(B, patches)`, for each patch the feature that stands for it, -1 where none does;
            None where each stands for itself.
        sources: The same after each location.
        token_logits: `(B, N, classes)` of networks that classify each token too (LV-ViT).
        covered: Height and width in pixels that patches cover, where they leave a margin; or None.
        maps: Whole maps `(B, C, H, W)`, one for each stage, if they were asked for (`with_maps`).
        summaries: In training, for each location what its selector learns from, `(B, C)`; empty
            for methods that need no auxiliary loss.
    """

    logits: Tensor
    features: Tensor
    size: Tensor
    decisions: list[Tensor]
    counts: list[Tensor]
    ratios: tuple[float, ...]
    source: Tensor | None = None
    sources: tuple[Tensor | None, ...] = ()
    token_logits: Tensor | None = None
    maps: tuple[Tensor, ...] = ()
    covered: tuple[int, int] | None = None
    summaries: tuple[Tensor, ...] = ()

    def shares(self, number: int) -> Tensor:
        """How much of a token each patch has after location `number`, `(B, patches)`.

        1 has one of its own, 1/s shares it with s - 1 others, 0 is dropped. For inference, where
        dropped tokens are gone.
        """
        kept = self.decisions[number]
        source = self.sources[number] if self.sources else None
        if source is None:
            return kept
        index = source.clamp(min=0)
        together = torch.zeros_like(kept).scatter_add(1, index, kept)
        return kept / together.gather(1, index).clamp(min=1)


class Level(NamedTuple):
    """A map's channels and how many pixels lie between its positions."""

    channels: int
    stride: int


class SparseBackbone(nn.Module, ABC):
    """A student: `backbone` is pure timm, `method` holds all that is new.

    `networks` are the classes that a family walks, subclasses included unless another family names
    them; a family has to name them in its own body. `example` is the name of such a network in
    timm; `natural_method` and `natural_schedule` name the papers' choice for it; `any_size` are
    timm's options by which it takes images of any size.
    """

    networks: ClassVar[tuple[type[nn.Module], ...]]
    example: ClassVar[str | None] = None
    classifies_tokens: ClassVar[bool] = False
    natural_method: ClassVar[str]
    natural_schedule: ClassVar[str]
    any_size: ClassVar[dict[str, Any]] = {}
    method: Method

    def __init__(self, backbone: nn.Module, method: Method) -> None:
        """Take both as they are; neither is changed."""
        super().__init__()
        self.backbone = backbone
        self.method = method

    @staticmethod
    @abstractmethod
    def check(network: nn.Module) -> None:
        """Raise an `InputError` if `network` is of this family but has a part that is not."""

    @staticmethod
    def margin(network: nn.Module) -> tuple[int, int] | None:
        """Sides in pixels of the image and of its patches where these leave a margin, or None.

        Timm drops the margin, and so do students.
        """
        return None

    @staticmethod
    @abstractmethod
    def geometry(network: nn.Module) -> Geometry:
        """The sizes by which methods are made."""

    @staticmethod
    @abstractmethod
    def natural_locations(depth: int, count: int) -> tuple[int, ...]:
        """The papers' locations among `depth` blocks, `count` of them if the depth allows."""

    @abstractmethod
    def import_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights under a released or dense checkpoint's names, under this student's names."""

    def dense_copy(self) -> SparseBackbone:
        """The network as it stands, apart and under the method that does nothing."""
        network = copy.deepcopy(self.backbone)
        return type(self)(network, Dense(None, self.geometry(network)))

    def as_teacher(self) -> SparseBackbone:
        """Put into evaluation mode, giving the logits that a student gives in training."""
        return self.eval()

    @abstractmethod
    def forward(self, images: Tensor) -> SparseOutput:
        """Classify `images (B, 3, S, S)`."""

    @abstractmethod
    def levels(self) -> tuple[Level, ...]:
        """The maps that `with_maps` gives, finest first."""

    @abstractmethod
    def with_maps(self, images: Tensor) -> SparseOutput:
        """As `forward`, and the whole `maps` of `images (B, 3, H, W)`, as timm's own features."""


def timm_names(
    convert: Callable[[dict[str, Tensor], Any], dict[str, Tensor]],
    weights: dict[str, Tensor],
    network: nn.Module,
) -> dict[str, Tensor]:
    """Dense weights as `backbone.*`, renamed by timm's own filter for this network.

    What the filter cannot read keeps its names, by which the loader will report it.
    """
    with suppress(KeyError, AttributeError, RuntimeError, ValueError, IndexError):
        weights = convert(weights, network)
    return {"backbone." + key: value for key, value in weights.items()}
