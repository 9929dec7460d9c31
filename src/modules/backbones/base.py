"""Defines what every student is: an untouched network, a method beside it, one kind of output."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import ClassVar, NamedTuple, TypeVar, cast

import torch
from timm.layers import PatchEmbed
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...errors import InputError, one_sentence
from ...measure.complexity import count_gmacs
from ...measure.evaluating import evaluating
from ...ranges import Number
from ..methods.base import Geometry, Method
from ..methods.dense import Dense
from ..saving.described import Described
from .answers import TimmAnswers
from .inputs import image_errors_named
from .output import SparseOutput, Step

__all__ = ["Geometry", "Level", "SparseBackbone", "SparseOutput", "Step", "timm_names"]


T = TypeVar("T")
SIDE = Number(224, least=1, whole=True)  # of an image, in pixels


class Level(NamedTuple):
    """Describes a map: its channels, and the pixels from one position to the next."""

    channels: int
    stride: int


class SparseBackbone(TimmAnswers, Described, ABC):
    """Defines a student: `backbone` is pure timm, `method` holds all that is new.

    Attributes:
        networks: The classes that a family walks, subclasses included unless another family names
            them; a family has to name them in its own body.
        example: timm's name of such a network.
        classifies_tokens: Whether it also returns logits of each token.
        natural_method: The papers' method for such networks, by its name in `conf/method`.
        natural_schedule: The papers' schedule for them, by its name in `conf/schedule`.
        any_size: timm's options under which the network takes images of any size; None where it
            takes one size alone.
        head_is_new: Whether the network is pretrained but its classifier is not, so that a dense
            copy has no classes to teach.
        method_is_new: Whether no file has given the method its parameters.
    """

    networks: ClassVar[tuple[type[nn.Module], ...]]
    example: ClassVar[str | None] = None
    classifies_tokens: ClassVar[bool] = False
    natural_method: ClassVar[str]
    natural_schedule: ClassVar[str]
    any_size: ClassVar[dict[str, bool] | None] = {}
    method: Method
    head_is_new: bool = False
    method_is_new: bool = True

    def __init__(self, backbone: nn.Module, method: Method) -> None:
        """Put `method` beside `backbone`; neither is changed."""
        super().__init__()
        self.backbone = backbone
        self.method = method

    @staticmethod
    @abstractmethod
    def check(network: nn.Module) -> None:
        """Raise an `InputError` if `network` has a part that this family cannot walk."""

    @staticmethod
    def margin(network: nn.Module) -> tuple[int, int] | None:
        """Return the sides of image and patch in pixels if patches leave a margin, else None.

        Timm ignores the pixels of the margin, and so do students.
        """
        return None

    @staticmethod
    @abstractmethod
    def geometry(network: nn.Module) -> Geometry:
        """Return the sizes of the network that methods are made for."""

    @staticmethod
    @abstractmethod
    def natural_locations(depth: int, count: int) -> tuple[int, ...]:
        """Return the papers' locations among `depth` blocks: `count`, if the depth allows."""

    @abstractmethod
    def import_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename the weights of a released or dense checkpoint as this student names them."""

    @property
    def rho(self) -> float | None:
        """Return the base keep ratio, which may be set; None for listed or ignored ratios."""
        return None if self.method.ignores_rho else self.method.schedule.rho

    @rho.setter
    def rho(self, rho: float) -> None:
        if reason := self.method.ignores_rho:
            raise InputError(f"rho={rho!r} would change nothing here: {reason}.")
        self.method.schedule = self.method.schedule.at(rho)

    @property
    def patch_embed(self) -> PatchEmbed | None:
        """Return timm's module that cuts images into patches; None without one of that name."""
        return cast("PatchEmbed | None", getattr(self.backbone, "patch_embed", None))

    @property
    def image_size(self) -> tuple[int, int]:
        """Return the height and width in pixels of the images that the network was made for.

        Raises:
            InputError: If the network knows none, as one of any size that timm did not create.
        """
        size = getattr(self.patch_embed, "img_size", None)
        made_for = size or self.pretrained_cfg.get("input_size", ())[1:]
        if not made_for:
            raise InputError(
                f"This {type(self.backbone).__name__} does not know for which images it was made: "
                "give image_size, or create it by timm.create_model."
            )
        return int(made_for[0]), int(made_for[1])

    def input_sides(self, image_size: int | tuple[int, int] | None = None) -> tuple[int, ...]:
        """Return the sides of one input: a clip's frames, if any, then height and width in pixels.

        Args:
            image_size: Height and width, or one number for both; by default those that the network
                was made for.
        """
        return self.image_size if image_size is None else height_and_width(image_size)

    @property
    def embedding_dim(self) -> int:
        """Return the length of what `predict` gives for an image: of its logits or embedding."""
        return self.num_classes or int(self._network.head_hidden_size)

    def _recomputes_blocks(self) -> bool:
        """Return whether backward runs blocks again, as timm's `grad_checkpointing` asks."""
        parts = self.backbone.modules()
        return torch.is_grad_enabled() and any(
            getattr(part, "grad_checkpointing", False) for part in parts
        )

    def _block_runner(self) -> Callable[[Callable[[Tensor], T], Tensor], T]:
        """Return what calls a function of a block's input, again in the backward pass if asked."""
        return recomputed if self._recomputes_blocks() else _called

    def predict(self, images: Tensor) -> Tensor:
        """Return logits `(B, classes)` of `images (B, 3, H, W)` at inference, without gradients.

        A network without a classifier (`num_classes` 0) returns its pooled embedding `(B, D)`.

        Raises:
            InputError: If `images` is of a kind, shape, type or device that it cannot take.
        """
        named = image_errors_named(images, self.backbone, self.input_sides)
        with named, evaluating(self), torch.inference_mode():
            output: SparseOutput = self(images)
        return output.logits.clone()  # outside inference mode: a loss may take it for a target

    def gmacs(self, image_size: int | tuple[int, int] | None = None) -> float:
        """Count multiply-accumulates of one image or clip at inference, divided by 1e9.

        Args:
            image_size: Height and width in pixels; by default those that it was made for.

        Raises:
            InputError: If the network does not take images of this size.
        """
        sides = self.input_sides(image_size)
        try:
            return count_gmacs(self, sides)
        except (AssertionError, RuntimeError, ValueError) as error:  # of timm and torch, for sizes
            raise InputError(
                f"image_size={image_size} does not suit this {type(self.backbone).__name__}: "
                f"{one_sentence(str(error))}"
            ) from error

    def __repr__(self) -> str:
        network = self.pretrained_cfg.get("architecture") or type(self.backbone).__name__
        lines = [
            f"network: {network}, {self.num_classes} classes",
            f"method: {self.method.name}, {self.method.outline}",
        ]
        with suppress(Exception):  # networks that cannot be counted still have a name
            dense = count_gmacs(self.backbone, self.input_sides())
            *frames, height, width = self.input_sides()
            clip = "".join(f"{count} frames of " for count in frames)
            size = f"{clip}{width}x{height} px"
            lines.append(f"cost: {self.gmacs():.3g} of {dense:.3g} GMACs at {size}")
        return "\n  ".join([f"{type(self).__name__}(", *lines]) + "\n)"

    def dense_copy(self) -> SparseBackbone:
        """Copy the network with its weights, under the method that keeps every token."""
        network = copy.deepcopy(self.backbone)
        return type(self)(network, Dense(None, self.geometry(network)))

    def as_teacher(self) -> SparseBackbone:
        """Put it into evaluation mode, with the logits that a student returns in training."""
        return self.eval()

    @abstractmethod
    def forward(self, images: Tensor) -> SparseOutput:
        """Classify `images (B, 3, S, S)`."""

    @abstractmethod
    def levels(self) -> tuple[Level, ...]:
        """Describe the maps that `with_maps` returns, finest first."""

    @abstractmethod
    def with_maps(self, images: Tensor) -> SparseOutput:
        """Run `forward` on `images (B, 3, H, W)` and add complete `maps`, like timm's features."""


def height_and_width(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Return height and width of `image_size`, which is both of them or one number for both.

    Raises:
        InputError: If it is neither.
    """
    sides = tuple(image_size) if isinstance(image_size, Sequence) else (image_size, image_size)
    if len(sides) != 2 or not all(map(SIDE.accepts, sides)):
        raise InputError(f"image_size={image_size!r} must be {SIDE}, as 224, or two of them.")
    return sides[0], sides[1]


recomputed = partial(checkpoint, use_reentrant=False)


def _called(run: Callable[[Tensor], T], x: Tensor) -> T:
    return run(x)


def timm_names(
    convert: Callable[..., dict[str, Tensor]],
    weights: dict[str, Tensor],
    network: nn.Module,
) -> dict[str, Tensor]:
    """Return dense weights as `backbone.*`, renamed by timm's own filter for this network.

    Weights that the filter cannot read keep their names, which the loader then reports.
    """
    with suppress(KeyError, AttributeError, RuntimeError, ValueError, IndexError):
        weights = convert(weights, network)
    return {"backbone." + key: value for key, value in weights.items()}
