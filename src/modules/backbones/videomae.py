"""Walks VideoMAE, a plain transformer over the tubelets of a clip."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from torch import Tensor, nn
from typing_extensions import override

from ..networks.videomae import TubeletEmbed, VideoMAE, checkpoint_filter_fn
from .base import Geometry, timm_names
from .vit import SparseViT


class SparseVideoMAE(SparseViT):
    """Walks VideoMAE on clips `(B, 3, T, H, W)`: its patches are tubelets, ordered by time."""

    networks = (VideoMAE,)
    example = "videomae_small_patch16_224"
    any_size = None
    backbone: VideoMAE

    @staticmethod
    @override
    def geometry(network: nn.Module) -> Geometry:
        return replace(SparseViT.geometry(network), clips=True)

    @override
    def input_sides(self, image_size: int | tuple[int, int] | None = None) -> tuple[int, ...]:
        embed = cast(TubeletEmbed, self.backbone.patch_embed)
        return embed.num_frames, *super().input_sides(image_size)

    @override
    def import_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return timm_names(checkpoint_filter_fn, weights, self.backbone)
