"""Walks BEiT (Bao et al. 2021, arXiv:2106.08254) and BEiT-v2 (Peng et al. 2022): timm's `Beit`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from timm.models.beit import Attention, Beit, Block, checkpoint_filter_fn
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from ..layers.attention import Attended, attend
from ..layers.tokens import Tokens
from .base import timm_names
from .pooling import check_pooling
from .relative import Biased, RelativeBackbone, bias_of, placed
from .vit import logit_scale


class SparseBeit(RelativeBackbone[Block]):
    """Walks timm's `Beit` block by block with its own modules.

    Modifications: attention reads token sizes, and a token's relative positions stay with it.
    """

    networks = (Beit,)
    example = "beit_base_patch16_224"
    backbone: Beit

    @staticmethod
    @override
    def check(network: nn.Module) -> None:
        check_pooling(network)

    @override
    def embed(self, images: Tensor) -> Tokens:
        net = self.backbone
        x = net.patch_embed(images)
        x = torch.cat([net.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        x = x if net.pos_embed is None else x + net.pos_embed
        return placed(net.pos_drop(x), prefix=1)

    @override
    def blocks(self) -> Iterator[Biased[Block]]:
        net = self.backbone
        shared = None if net.rel_pos_bias is None else net.rel_pos_bias()[None]  # (1, H, T, T)
        for block in cast(nn.ModuleList, net.blocks):
            assert isinstance(block, Block)
            own = None
            if block.attn.relative_position_bias_table is not None:
                own = block.attn._get_rel_pos_bias()
            yield Biased(block, shared if own is None else own if shared is None else own + shared)

    @override
    def attention(self, block: Biased[Block], tokens: Tokens) -> tuple[Tensor, Attended]:
        layer = block.block
        attn = layer.attn
        heads = _query_key_value(attn, layer.norm1(tokens.x)).unflatten(-1, (3, attn.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, P+N, D) each
        bias = bias_of(block.bias, tokens)
        dropout = attn.attn_drop.p if attn.training else 0.0
        scale = logit_scale(attn, query)
        mixed = attend(query, key, value, tokens.size, dropout, scale, bias)
        out = attn.proj_drop(attn.proj(mixed.transpose(1, 2).flatten(2)))
        if layer.gamma_1 is not None:
            out = layer.gamma_1 * out
        return layer.drop_path1(out), Attended(query, key, value, scale, tokens.size, bias)

    @override
    def mlp(self, block: Biased[Block], x: Tensor) -> Tensor:
        layer = block.block
        out = layer.mlp(layer.norm2(x))
        if layer.gamma_2 is not None:
            out = layer.gamma_2 * out
        return layer.drop_path2(out)

    @override
    def import_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return timm_names(checkpoint_filter_fn, weights, self.backbone)


def _query_key_value(attn: Attention, x: Tensor) -> Tensor:
    if attn.q_bias is None:
        return attn.qkv(x)
    bias = torch.cat(cast("tuple[Tensor, ...]", (attn.q_bias, attn.k_bias, attn.v_bias)))
    if attn.qkv_bias_separate:
        return attn.qkv(x) + bias
    return F.linear(x, attn.qkv.weight, bias)
