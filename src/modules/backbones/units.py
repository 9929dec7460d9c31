"""Splits blocks of hierarchical networks into mixing, norm and MLP; norms may mix positions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor
from typing_extensions import override

from ..layers.paths import Path, TwoPaths
from .spatial import SpatialBackbone
from .timm_parts import Layer, Stage


@dataclass(frozen=True)
class Unit:
    """Holds the parts of a block on maps `(B, C, H, W)`.

    Attributes:
        block: The complete block, as timm runs it.
        mix: The part before its MLP, residual included.
        norm: The MLP's norm; both paths read its output, for it may mix positions (group norm).
        slow: The MLP with its scale, on `(B, N, C)`.
        residual: Makes of the output of `mix` what the MLP's branch is added to.
        drop_path: Stochastic depth of the branch.
    """

    block: Layer
    mix: Layer
    norm: Layer
    slow: Path
    residual: Layer
    drop_path: Layer

    def __call__(self, x: Tensor) -> Tensor:
        """Run the block on the map `x (B, C, H, W)`."""
        return self.block(x)


@dataclass(frozen=True)
class UnitStage:
    """Holds a stage: the layer that makes its map, and its units."""

    downsample: Layer
    blocks: Sequence[Unit]


class UnitBackbone(SpatialBackbone[Unit]):
    """Walks units; mixing and norms stay dense, and MLPs serve the slow path."""

    @abstractmethod
    def unit_stages(self) -> list[UnitStage]:
        """Return the stages in order."""

    @override
    def stages(self) -> Sequence[Stage[Unit]]:
        return cast("Sequence[Stage[Unit]]", self.unit_stages())

    @override
    def positions(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)

    @override
    def as_map(self, x: Tensor) -> Tensor:
        return x

    @override
    def routed(self, block: Unit, x: Tensor, paths: TwoPaths, fast: Path) -> Tensor:
        x = block.mix(x)
        branch = paths.run(self.positions(block.norm(x)), block.slow, fast)
        branch = branch.transpose(1, 2).reshape(x.shape)
        return block.residual(x) + block.drop_path(branch)


def on_columns(layer: Layer) -> Path:
    """Make `layer`, which takes `(B, C, H, W)` position by position, take `(B, N, C)`."""

    def run(y: Tensor) -> Tensor:
        return layer(y.transpose(1, 2).unsqueeze(-1)).squeeze(-1).transpose(1, 2)

    return run


def channels_last(layer: Layer) -> Layer:
    """Make `layer`, which takes `(B, H, W, C)`, take `(B, C, H, W)`."""
    return lambda x: layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def as_tokens(layer: Layer) -> Layer:
    """Make `layer`, which takes `(B, N, C)`, take `(B, C, H, W)`."""
    return lambda x: layer(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)


def in_turn(*layers: Layer) -> Layer:
    """Return a function that runs `layers` one after another."""

    def run(x: Tensor) -> Tensor:
        for layer in layers:
            x = layer(x)
        return x

    return run


def identity(x: Tensor) -> Tensor:
    """Return `x` unchanged."""
    return x
