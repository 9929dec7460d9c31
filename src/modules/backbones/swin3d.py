"""Walks Video Swin, torchvision's `SwinTransformer3d`, on clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformerBlock
from typing_extensions import override

from ..layers.paths import Path, TwoPaths
from ..layers.windows import KeptWindows, padded, partition
from ..networks.swin3d import ClipEmbed, VideoSwin
from ..networks.window_attention import WindowAttention3d
from .base import Geometry
from .spatial import ROUTED, SpatialBackbone
from .swin import check_third_stage
from .timm_parts import Layer, Stage
from .units import identity
from .windowed import WindowedBackbone


@dataclass(frozen=True)
class ClipStage:
    """Holds a stage: the layer that makes its map, and its blocks."""

    downsample: Layer
    blocks: Sequence[SwinTransformerBlock]


class SparseVideoSwin(
    SpatialBackbone[SwinTransformerBlock], WindowedBackbone[SwinTransformerBlock]
):
    """Walks Video Swin stage by stage on clips `(B, 3, T, H, W)`; maps are `(B, t, h, w, C)`.

    Modifications are those of `SparseSwin`: in routed blocks window attention stays dense and the
    MLP, with its norm, serves the slow path; under a method that skips windows, both serve the
    windows that are computed. A position is a place in space and time.
    """

    networks = (VideoSwin,)
    example = "swin3d_t"
    any_size = None
    backbone: VideoSwin

    @staticmethod
    @override
    def check(network: nn.Module) -> None:
        assert isinstance(network, VideoSwin)
        check_third_stage(network, stages_of(network))

    @staticmethod
    @override
    def geometry(network: nn.Module) -> Geometry:
        assert isinstance(network, VideoSwin)
        blocks = stages_of(network)[ROUTED].blocks
        frames, rows, columns = network.patch_embed.grid_size
        count = frames * -(-rows // 2**ROUTED) * -(-columns // 2**ROUTED)
        return Geometry(network.feature_info[ROUTED]["num_chs"], len(blocks), count, clips=True)

    @override
    def input_sides(self, image_size: int | tuple[int, int] | None = None) -> tuple[int, ...]:
        embed = cast(ClipEmbed, self.backbone.patch_embed)
        return embed.num_frames, *super().input_sides(image_size)

    @override
    def stem(self, images: Tensor) -> Tensor:
        x: Tensor = self.backbone.pos_drop(self.backbone.patch_embed(images))
        return x

    @override
    def stages(self) -> Sequence[Stage[SwinTransformerBlock]]:
        return cast("Sequence[Stage[SwinTransformerBlock]]", stages_of(self.backbone))

    @override
    def positions(self, x: Tensor) -> Tensor:
        return x.flatten(1, 3)

    @override
    def as_map(self, x: Tensor) -> Tensor:
        return x.permute(0, 4, 1, 2, 3)

    @override
    def routed(self, block: SwinTransformerBlock, x: Tensor, paths: TwoPaths, fast: Path) -> Tensor:
        if isinstance(paths, KeptWindows):
            return self._windowed(block, x, paths, fast)
        x = x + block.stochastic_depth(block.attn(block.norm1(x)))
        branch = paths.run(self.positions(x), lambda y: block.mlp(block.norm2(y)), fast)
        return x + block.stochastic_depth(branch).view_as(x)

    @override
    def windows(self, block: SwinTransformerBlock, x: Tensor) -> Int[Tensor, "W M"]:
        sizes = x.shape[1:4]
        window, shift = cast(WindowAttention3d, block.attn).windows_on(sizes)
        places = torch.arange(sizes.numel(), device=x.device).view(sizes)
        places = padded(places, window)  # torchvision pads first and then rolls
        return places.flatten()[partition(places.shape, window, shift, x.device)]

    def _windowed(
        self, block: SwinTransformerBlock, x: Tensor, paths: KeptWindows, fast: Path
    ) -> Tensor:
        """Run the block on some of its windows; other positions take the fast path alone."""
        if paths.all:
            dense: Tensor = block(x)
            return dense
        attention = cast(WindowAttention3d, block.attn)
        bias = attention.bias_on(x.shape[1:4])  # (W or 1, heads, M, M)
        bias = bias[paths.kept] if len(bias) > 1 else bias.unsqueeze(0)

        def attend(y: Tensor) -> Tensor:
            y = y.masked_fill(~paths.inside.flatten(1).unsqueeze(-1), 0.0)  # as torchvision pads
            return attention.attend(y.unflatten(1, (paths.count, -1)), bias).flatten(1, 2)

        drop_path = block.stochastic_depth

        def slow(y: Tensor) -> Tensor:
            y = y + drop_path(attend(block.norm1(y)))
            return y + drop_path(block.mlp(block.norm2(y)))

        return paths.run(self.positions(x), slow, lambda y: y + drop_path(fast(y))).view_as(x)

    @override
    def tail(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.backbone.norm(x)
        return self.backbone.forward_head(x), self.positions(x)

    @override
    def import_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return {f"backbone.{key}": value for key, value in weights.items()}


def stages_of(network: VideoSwin) -> list[ClipStage]:
    """Return the stages; torchvision lists blocks and downsampling layers alternately."""
    parts = [cast(nn.Sequential, part) for part in network.features]
    downsamples: list[Layer] = [identity, *parts[1::2]]
    return [
        ClipStage(downsample, cast("Sequence[SwinTransformerBlock]", blocks))
        for downsample, blocks in zip(downsamples, parts[::2], strict=True)
    ]
