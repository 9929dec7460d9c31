"""Defines what every student is: an untouched network, a method beside it, one kind of output."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...measure.complexity import count_gmacs
from ..methods.base import Geometry, Method
from ..methods.dense import Dense
from ..saving.described import Described

__all__ = ["Geometry", "Level", "SparseBackbone", "SparseOutput", "Step", "timm_names"]


@dataclass(frozen=True)
class Step:
    """One decision: what is left of the image's patches from its location on.

    Attributes:
        location: The block before (in a hierarchical network's third stage: in) which it was taken.
        ratio: The keep ratio that the schedule asks for.
        keep: `(B, patches)`, 1 = keep.
        count: `(B,)`, patch tokens that go on.
        source: `(B, patches)`, for each patch the token that stands for it, -1 where none does;
            None where each stands for itself.
    """

    location: int
    ratio: float
    keep: Tensor
    count: Tensor
    source: Tensor | None = None

    def shares(self) -> Tensor:
        """How much of a token each patch has, `(B, patches)`.

        1 has one of its own, 1/s shares it with s - 1 others, 0 is dropped. For inference, where
        dropped tokens are gone.
        """
        if self.source is None:
            return self.keep
        index = self.source.clamp(min=0)
        together = torch.zeros_like(self.keep).scatter_add(1, index, self.keep)
        return self.keep / together.gather(1, index).clamp(min=1)


@dataclass(frozen=True)
class SparseOutput:
    """The same shape in every mode; N is what is left of the patches (all of them in training).

    Attributes:
        logits: `(B, classes)`.
        features: `(B, N, C)`, normed patch features after the last block.
        size: `(B, N)`, patches that each feature stands for; 0 is pruned.
        steps: One for each location.
        source: `(B, patches)`, for each patch the feature that stands for it, -1 where none does;
            None where each stands for itself.
        token_logits: `(B, N, classes)` of networks that classify each token too (LV-ViT).
        covered: Height and width in pixels that patches cover, where they leave a margin; or None.
        maps: Whole maps `(B, C, H, W)`, one for each stage, if they were asked for (`with_maps`).
        summaries: In training, for each location what its selector learns from, `(B, C)`; empty
            for methods that need no auxiliary loss.
    """

    logits: Tensor
    features: Tensor
    size: Tensor
    steps: tuple[Step, ...] = ()
    source: Tensor | None = None
    token_logits: Tensor | None = None
    maps: tuple[Tensor, ...] = ()
    covered: tuple[int, int] | None = None
    summaries: tuple[Tensor, ...] = ()

    @property
    def decisions(self) -> list[Tensor]:
        """The `keep` of each step."""
        return [step.keep for step in self.steps]

    @property
    def counts(self) -> list[Tensor]:
        """The `count` of each step."""
        return [step.count for step in self.steps]

    def kept_shares(self) -> Tensor:
        """Patch tokens that go on over patches of the image, `(S, B)`, without gradients."""
        if not self.steps:
            return self.logits.new_zeros(0, len(self.logits))
        return torch.stack(self.counts).detach() / self.steps[0].keep.shape[1]


class Level(NamedTuple):
    """A map's channels and how many pixels lie between its positions."""

    channels: int
    stride: int


class SparseBackbone(Described, ABC):
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

    @property
    def rho(self) -> float | None:
        """The base keep ratio, which may be set; None for listed ratios, or where it is ignored."""
        return None if self.method.ignores_rho else self.method.schedule.rho

    @rho.setter
    def rho(self, rho: float) -> None:
        if reason := self.method.ignores_rho:
            raise InputError(f"rho={rho!r} would change nothing here: {reason}.")
        self.method.schedule = self.method.schedule.at(rho)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of the images that the network was made for."""
        embedding: Any = getattr(self.backbone, "patch_embed", None)
        made_for = getattr(embedding, "img_size", None) or self.pretrained_cfg["input_size"][1:]
        return int(made_for[0]), int(made_for[1])

    @property
    def num_classes(self) -> int:
        """Outputs of the classifier, as timm's networks say; 0 without one."""
        return int(self.backbone.num_classes)  # type: ignore[arg-type]

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """What timm says of the network and its weights, preprocessing included."""
        config: Any = self.backbone.pretrained_cfg
        return dict(config)

    @property
    def default_cfg(self) -> dict[str, Any]:
        """The same as `pretrained_cfg`, by its older name."""
        return self.pretrained_cfg

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier by a new one for `num_classes`; 0 removes it."""
        self.backbone.reset_classifier(num_classes)  # type: ignore[operator]

    def forward_features(self, images: Tensor) -> Tensor:
        """Return normed features `(B, N, C)` of the patches that are left of `images`."""
        output: SparseOutput = self(images)
        return output.features

    def predict(self, images: Tensor) -> Tensor:
        """Return logits `(B, classes)` of `images (B, 3, H, W)` at inference, without gradients."""
        training = self.training
        try:
            with torch.inference_mode():
                output: SparseOutput = self.eval()(images)
            return output.logits
        finally:
            self.train(training)

    def gmacs(self, image_size: int | tuple[int, int] | None = None) -> float:
        """Count multiply-accumulates of one image at inference, divided by 1e9.

        Args:
            image_size: Height and width in pixels; by default those that it was made for.
        """
        return count_gmacs(self, image_size or self.image_size)

    def __repr__(self) -> str:
        network = self.pretrained_cfg.get("architecture") or type(self.backbone).__name__
        schedule = self.method.schedule
        kept = ", ".join(f"{ratio:.3g}" for ratio in schedule.ratios)
        where = f"blocks {', '.join(map(str, schedule.locations))}" if kept else "no block"
        rho = "" if self.rho is None else f"rho={self.rho:g}, "
        lines = [
            f"network: {network}, {self.num_classes} classes",
            f"method: {self.method.name}, {rho}keeps [{kept}] at {where}",
        ]
        with suppress(Exception):  # networks that cannot be counted still have a name
            dense = count_gmacs(self.backbone, self.image_size)
            height, width = self.image_size
            lines.append(f"cost: {self.gmacs():.3g} of {dense:.3g} GMACs at {width}x{height} px")
        return "\n  ".join([f"{type(self).__name__}(", *lines]) + "\n)"

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
