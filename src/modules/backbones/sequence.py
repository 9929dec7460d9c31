"""Runs the block loop of plain transformers, where tokens are removed, fused or merged."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import ClassVar, Generic, TypeVar, cast

from timm.layers import PatchEmbed
from torch import Tensor, nn
from typing_extensions import override

from ...errors import InputError
from ..layers.attention import Attended
from ..layers.tokens import Tokens
from ..methods.base import Method, TokenReduction
from ..schedules import evenly_spaced
from .base import Level, SparseBackbone, SparseOutput, Step, recomputed
from .departures import Departures, Hooks
from .timm_parts import PlainTransformer

BlockT = TypeVar("BlockT")


class SequenceBackbone(SparseBackbone, Generic[BlockT]):
    """Walks a network whose blocks are attention and MLP over one sequence of tokens."""

    method: TokenReduction
    natural_method = "dynamicvit"
    natural_schedule = "geometric"
    any_size: ClassVar[dict[str, bool] | None] = {"dynamic_img_size": True, "dynamic_img_pad": True}

    def __init__(self, backbone: nn.Module, method: Method) -> None:
        """Put `method` beside `backbone`.

        Raises:
            InputError: If the method does not work on sequences, or needs a class token or clips
                that the network does not have.
        """
        if not isinstance(method, TokenReduction):
            raise InputError(
                f"{method.name} works on feature maps, but {type(backbone).__name__} is "
                "a plain transformer: choose a token method, as method=dynamicvit."
            )
        if method.needs_class_token and not self.geometry(backbone).class_token:
            raise InputError(
                f"{method.name} reads the class token's attention, and this "
                f"{type(backbone).__name__} has no class token: choose a method that does without, "
                "as method=dynamicvit or method=tome."
            )
        if method.needs_clips and not self.geometry(backbone).clips:
            raise InputError(
                f"{method.name} reads how pixels change in time, and {type(backbone).__name__} "
                "takes single images: choose a method for images, as method=dynamicvit, or a "
                "network for clips, as backbone=videomae_s."
            )
        super().__init__(backbone, method)

    @staticmethod
    @override
    def natural_locations(depth: int, count: int) -> tuple[int, ...]:
        return evenly_spaced(depth, count)

    @abstractmethod
    def embed(self, images: Tensor) -> Tokens:
        """Turn images `(B, 3, S, S)` into the tokens that enter the first block."""

    @abstractmethod
    def blocks(self) -> Iterable[BlockT]:
        """Return the blocks in order."""

    @abstractmethod
    def attention(self, block: BlockT, tokens: Tokens) -> tuple[Tensor, Attended]:
        """Return attention's branch of `block`, `(B, P+N, C)` without residual, and its inputs."""

    @abstractmethod
    def mlp(self, block: BlockT, x: Tensor) -> Tensor:
        """Return the MLP branch of `block`, `(B, P+N, C)`, without residual."""

    @abstractmethod
    def classify(self, tokens: Tokens) -> tuple[Tensor, Tensor, Tensor | None]:
        """Turn the last block's tokens into logits `(B, classes)`, features and token logits.

        The features are normed, `(B, N, C)`; token logits are `(B, N, classes)`, or None where
        the network does not classify its tokens.
        """

    def import_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename weights of DynamicViT, whose names are timm's except those of the predictors."""
        released = "score_predictor."
        return {
            "method.selector.predictors." + key.removeprefix(released)
            if key.startswith(released)
            else "backbone." + key: value
            for key, value in weights.items()
        }

    def forward(self, images: Tensor) -> SparseOutput:
        """Walk the blocks and ask the method before each, after each attention and MLP."""
        return self._output(*self._walk(images, self.method))

    @override
    def levels(self) -> tuple[Level, ...]:
        last = self._network.feature_info[-1]
        return (Level(last["num_chs"], last["reduction"]),)

    def with_maps(self, images: Tensor) -> SparseOutput:
        """Run `forward` and add one map, in which dropped patches are as they were when dropped.

        The map is normed.
        """
        departures = Departures(self.method)
        tokens, steps = self._walk(images, departures)
        features = self._network.norm(departures.complete(tokens))  # (B, patches, C)
        grid = tokens.known_grid("A complete map")
        return self._output(tokens, steps, (features.transpose(1, 2).unflatten(2, grid),))

    def enter(self, images: Tensor) -> Tokens:
        """Return the tokens of `images (B, 3, H, W)` before the first block, with their grid."""
        height, width = images.shape[-2:]
        grid = self.patch_embed.dynamic_feat_size((height, width))
        tokens = self.embed(images)
        # Patch dropout leaves some of them, in any order.
        return replace(tokens, grid=grid if math.prod(grid) == tokens.num_patches else None)

    def run_block(
        self, layer: int, block: BlockT, tokens: Tokens, method: Hooks
    ) -> tuple[Tokens, Tensor]:
        """Run one block and its hooks up to its MLP; return the tokens and what the MLP added."""
        tokens = method.before_block(layer, tokens)
        branch, attended = self.attention(block, tokens)
        tokens = tokens.with_x(tokens.x + branch)
        tokens = method.after_attention(layer, tokens, attended)
        del branch, attended  # their memory serves the MLP
        moved = self.mlp(block, tokens.x)
        return tokens.with_x(tokens.x + moved), moved

    def _run_on(
        self, layer: int, block: BlockT, tokens: Tokens, method: Hooks, x: Tensor
    ) -> tuple[Tokens, Tensor]:
        return self.run_block(layer, block, tokens.with_x(x), method)

    def _walk(self, images: Tensor, method: Hooks) -> tuple[Tokens, tuple[Step, ...]]:
        tokens = self.enter(images)
        if (covered := self._covered(tokens.grid)) is not None:
            images = images[..., : covered[0], : covered[1]]
        tokens = method.after_embedding(images, tokens)
        steps: list[Step] = []
        recompute = self._recomputes_blocks()
        for layer, block in enumerate(self.blocks()):
            if recompute:
                run = partial(self._run_on, layer, block, tokens, method)
                tokens, moved = recomputed(run, tokens.x)
            else:
                tokens, moved = self.run_block(layer, block, tokens, method)
            number = self.method.number_at(layer)
            if number is not None:
                ratio = self.method.schedule.ratios[number]
                kept, count = tokens.survivors(), tokens.count()
                steps.append(Step(layer, ratio, kept, count, tokens.source))
            tokens = method.after_mlp(layer, tokens, moved)
        return tokens, tuple(steps)

    def _output(
        self, tokens: Tokens, steps: tuple[Step, ...], maps: tuple[Tensor, ...] = ()
    ) -> SparseOutput:
        logits, features, token_logits = self.classify(tokens)
        size = tokens.patch_size
        return SparseOutput(
            logits=logits,
            features=features,
            size=features.new_ones(features.shape[:2]) if size is None else size,
            steps=steps,
            source=tokens.source,
            token_logits=token_logits,
            maps=maps,
            covered=self._covered(tokens.grid),
            grid=tokens.grid,
            summaries=tokens.summaries,
        )

    @property
    @override
    def patch_embed(self) -> PatchEmbed:
        return self._network.patch_embed

    @property
    def _network(self) -> PlainTransformer:
        return cast(PlainTransformer, self.backbone)

    def _covered(self, grid: tuple[int, ...] | None) -> tuple[int, int] | None:
        embed = self.patch_embed
        pads = getattr(embed, "dynamic_img_pad", False)
        if grid is None or not (pads or self.margin(self.backbone)):
            return None
        (rows, columns), (height, width) = grid[-2:], embed.patch_size
        return rows * height, columns * width
