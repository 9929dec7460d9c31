"""Walks ViTs that have relative positions alone: timm's `VisionTransformerRelPos`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from timm.layers import RelPosBias
from timm.models import vision_transformer_relpos as timm_relpos
from timm.models.vision_transformer_relpos import (
    RelPosAttention,
    RelPosBlock,
    ResPostRelPosBlock,
    VisionTransformerRelPos,
)
from torch import Tensor, nn
from typing_extensions import override

from ...errors import InputError
from ..layers.attention import Attended, attend
from ..layers.tokens import Tokens
from .base import timm_names
from .pooling import check_pooling
from .relative import Biased, RelativeBackbone, bias_of, placed
from .vit import logit_scale

RelPos = RelPosBlock | ResPostRelPosBlock


class SparseRelPos(RelativeBackbone[RelPos]):
    """Walks timm's `VisionTransformerRelPos` block by block; its norms precede or follow branches.

    Modifications: attention reads token sizes, and a token's relative positions stay with it.
    """

    networks = (VisionTransformerRelPos,)
    example = "vit_relpos_small_patch16_224"
    backbone: VisionTransformerRelPos

    @staticmethod
    def check(network: nn.Module) -> None:
        """Raise an `InputError` unless blocks are of timm's two kinds."""
        assert isinstance(network, VisionTransformerRelPos)
        check_pooling(network)
        for block in network.blocks:
            if type(block) not in (RelPosBlock, ResPostRelPosBlock):
                raise InputError(
                    f"Blocks of type {type(block).__name__} cannot be sparsified: the network must "
                    "be made of timm's RelPosBlock or ResPostRelPosBlock."
                )

    @override
    def embed(self, images: Tensor) -> Tokens:
        net = self.backbone
        x = net.patch_embed(images)
        if net.cls_token is not None:
            x = torch.cat([net.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        return placed(x, prefix=net.num_prefix_tokens)

    @override
    def blocks(self) -> Iterator[Biased[RelPos]]:
        net = self.backbone
        shared = None if net.shared_rel_pos is None else net.shared_rel_pos.get_bias()
        for block in cast(nn.ModuleList, net.blocks):
            assert isinstance(block, RelPos)
            own = cast(RelPosBias | None, block.attn.rel_pos)
            yield Biased(block, shared if own is None else own.get_bias())

    @override
    def attention(self, block: Biased[RelPos], tokens: Tokens) -> tuple[Tensor, Attended]:
        layer, bias = block.block, bias_of(block.bias, tokens)
        if isinstance(layer, RelPosBlock):
            out, attended = self._attend(layer.attn, layer.norm1(tokens.x), tokens, bias)
            return layer.drop_path1(layer.ls1(out)), attended
        out, attended = self._attend(layer.attn, tokens.x, tokens, bias)
        return layer.drop_path1(layer.norm1(out)), attended

    def _attend(
        self, attn: RelPosAttention, x: Tensor, tokens: Tokens, bias: Tensor | None
    ) -> tuple[Tensor, Attended]:
        heads = attn.qkv(x).unflatten(-1, (3, attn.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, P+N, D) each
        query, key = attn.q_norm(query), attn.k_norm(key)
        dropout = attn.attn_drop.p if attn.training else 0.0
        scale = logit_scale(attn, query)
        mixed = attend(query, key, value, tokens.size, dropout, scale, bias)
        out = attn.proj_drop(attn.proj(mixed.transpose(1, 2).flatten(2)))
        return out, Attended(query, key, value, scale, tokens.size, bias)

    @override
    def mlp(self, block: Biased[RelPos], x: Tensor) -> Tensor:
        layer = block.block
        if isinstance(layer, RelPosBlock):
            return layer.drop_path2(layer.ls2(layer.mlp(layer.norm2(x))))
        return layer.drop_path2(layer.norm2(layer.mlp(x)))

    @override
    def import_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        # Before 1.0.31 timm's relative positions keep their names and sizes.
        convert = getattr(timm_relpos, "checkpoint_filter_fn", lambda given, _: given)
        return timm_names(convert, weights, self.backbone)
