"""Walks V-JEPA 2, a plain transformer over the tubelets of a clip with rotary positions."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import cast

from torch import Tensor, nn
from typing_extensions import override

from ..layers.attention import attend_from
from ..layers.tokens import Tokens
from ..networks.videomae import TubeletEmbed
from ..networks.vjepa2 import VJEPA2, AttentivePooler, checkpoint_filter_fn
from .base import Geometry, timm_names
from .eva import SparseEva, check_blocks
from .pooling import pool_and_classify


class SparseVJEPA2(SparseEva):
    """Walks V-JEPA 2 on clips `(B, 3, T, H, W)`: its patches are tubelets, ordered by time.

    A tubelet's place in time, height and width stays with it, and a merged token has that of its
    heaviest member. The attentive pooler reads token sizes, in its blocks too.
    """

    networks = (VJEPA2,)
    example = "vjepa2_large_patch16_256"
    any_size = None
    backbone: VJEPA2

    @staticmethod
    @override
    def check(network: nn.Module) -> None:
        assert isinstance(network, VJEPA2)
        check_blocks(network)

    @staticmethod
    @override
    def geometry(network: nn.Module) -> Geometry:
        return replace(SparseEva.geometry(network), clips=True)

    @override
    def input_sides(self, image_size: int | tuple[int, int] | None = None) -> tuple[int, ...]:
        embed = cast(TubeletEmbed, self.backbone.patch_embed)
        return embed.num_frames, *super().input_sides(image_size)

    @override
    def classify(self, tokens: Tokens) -> tuple[Tensor, Tensor, None]:
        net = self.backbone
        x, pool = net.norm(tokens.x), net.attn_pool
        if tokens.size is None or not isinstance(pool, AttentivePooler):
            return pool_and_classify(net, x, tokens), x, None
        left = Tokens(x, prefix=0, size=tokens.size)
        for block in pool.blocks:
            branch, _ = self.attention(block, left)
            left = left.with_x(left.x + branch)
            left = left.with_x(left.x + self.mlp(block, left.x))
        read = partial(attend_from, size=tokens.size, scale=pool.scale)
        return net.head(net.head_drop(pool.read(left.x, read))), x, None

    @override
    def import_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return timm_names(checkpoint_filter_fn, weights, self.backbone)
