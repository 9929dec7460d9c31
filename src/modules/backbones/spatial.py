"""Runs the stage loop of hierarchical networks, where positions take a slow or a fast path."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Generic, cast

from timm.layers import SelectAdaptivePool2d
from torch import Tensor, nn
from typing_extensions import override

from ...errors import InputError
from ..layers.paths import Path, TwoPaths
from ..layers.windows import WindowScores
from ..methods.base import Method, SpatialRouting
from .base import Level, SparseBackbone, SparseOutput, Step
from .timm_parts import BlockT, Network, Stage
from .windowed import WindowedBackbone

ROUTED = 2  # the third resolution stage holds most of the blocks and of the cost


class SpatialBackbone(SparseBackbone, Generic[BlockT]):
    """Walks a network of resolution stages; the map stays complete in all of them.

    Attributes:
        routed_stage: Index of the stage in which positions take different paths.
    """

    method: SpatialRouting
    natural_method = "asymmetric"
    natural_schedule = "arithmetic"
    routed_stage: ClassVar[int] = ROUTED

    def __init__(self, backbone: nn.Module, method: Method) -> None:
        """Put `method` beside `backbone`.

        Raises:
            InputError: If the method does not work on feature maps, or needs windows of attention
                that the network does not have, or if the network does not pool its last map.
        """
        if not isinstance(method, SpatialRouting):
            raise InputError(
                f"{method.name} removes tokens, but {type(backbone).__name__} needs its complete "
                "feature map: choose a method of slow and fast paths, as method=asymmetric."
            )
        if method.needs_windows and not isinstance(self, WindowedBackbone):
            raise InputError(
                f"{method.name} skips windows of attention, which {type(backbone).__name__} does "
                "not have: choose a method that routes positions, as method=asymmetric."
            )
        pools = [part for part in backbone.modules() if isinstance(part, SelectAdaptivePool2d)]
        if any(not pool.pool_type for pool in pools):
            raise InputError(
                "global_pool='' does not pool an image to one vector: make the network with "
                "global_pool='avg'."
            )
        super().__init__(backbone, method)

    @staticmethod
    def natural_locations(depth: int, count: int) -> tuple[int, ...]:
        """Return the released networks' locations: each ninth of the stage, (1, 2, 3) of 6 or 9."""
        step = max(1, round(depth / 9))
        return tuple(step * (i + 1) for i in range(count) if step * (i + 1) < depth)

    @abstractmethod
    def stem(self, images: Tensor) -> Tensor:
        """Turn images `(B, 3, H, W)` into the first stage's map, in the family's layout."""

    @abstractmethod
    def stages(self) -> Sequence[Stage[BlockT]]:
        """Return the stages in order, each with `downsample` and `blocks`."""

    @abstractmethod
    def positions(self, x: Tensor) -> Tensor:
        """Return the map as a sequence `(B, N, C)`."""

    @abstractmethod
    def as_map(self, x: Tensor) -> Tensor:
        """Return the map as `(B, C, H, W)`."""

    @abstractmethod
    def routed(self, block: BlockT, x: Tensor, paths: TwoPaths, fast: Path) -> Tensor:
        """Run the block: token mixing at all positions, the MLP on the slow path only.

        Under `KeptWindows` token mixing is on the slow path too.
        """

    @abstractmethod
    def tail(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Turn the last map into logits `(B, classes)` and its normed positions `(B, N, C)`."""

    def forward(self, images: Tensor) -> SparseOutput:
        """Walk the stages and ask the method before each block of the third."""
        return self._walk(images, collect=False)

    @override
    def levels(self) -> tuple[Level, ...]:
        infos = cast(Network, self.backbone).feature_info
        return tuple(Level(info["num_chs"], info["reduction"]) for info in infos)

    def with_maps(self, images: Tensor) -> SparseOutput:
        """Run `forward` and add each stage's map, the output of its last block, not normed."""
        return self._walk(images, collect=True)

    def _walk(self, images: Tensor, *, collect: bool) -> SparseOutput:
        x = self.stem(images)
        decided: list[TwoPaths | WindowScores] = []
        steps: list[Step] = []
        maps: list[Tensor] = []
        grid: tuple[int, ...] | None = None
        call = self._block_runner()
        for index, stage in enumerate(self.stages()):
            x = stage.downsample(x)
            if index == self.routed_stage:
                grid = tuple(self.as_map(x).shape[2:])
            for layer, block in enumerate(stage.blocks):
                if index == self.routed_stage:
                    decision = self.method.route(layer, self.positions(x))
                    if decision is not None:
                        decided.append(decision)
                        steps.append(self._step(layer, self._paths(block, x, decision).decision))
                if index == self.routed_stage and decided:
                    paths = self._paths(block, x, decided[-1])
                    fast = partial(self.method.fast, layer)
                    x = call(partial(self.routed, block, paths=paths, fast=fast), x)
                else:
                    x = call(block, x)
            if collect:
                maps.append(self.as_map(x))
        logits, features = self.tail(x)
        return SparseOutput(
            logits=logits,
            features=features,
            size=features.new_ones(features.shape[:2]),
            steps=tuple(steps),
            maps=tuple(maps),
            covered=self._covered(grid, images),
            grid=grid,
            summaries=tuple(p.summary for p in decided if p.summary is not None),
        )

    def _covered(self, grid: tuple[int, ...] | None, images: Tensor) -> tuple[int, int] | None:
        if grid is None:
            return None
        pixels = self.levels()[self.routed_stage].stride
        covered = pixels * grid[-2], pixels * grid[-1]
        return None if covered == tuple(images.shape[-2:]) else covered

    def _paths(self, block: BlockT, x: Tensor, decided: TwoPaths | WindowScores) -> TwoPaths:
        if isinstance(decided, TwoPaths):
            return decided
        assert isinstance(self, WindowedBackbone)  # as `__init__` has checked
        return decided.among(self.windows(block, x))

    def _step(self, layer: int, keep: Tensor) -> Step:
        number = self.method.number_at(layer)
        assert number is not None
        return Step(layer, self.method.schedule.ratios[number], keep, keep.detach().sum(dim=1))
