"""Plain transformers with rotary positions: timm's `Eva` class (EVA-02, DINOv3, RoPE-ViT, PE)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from timm.layers import AttentionRope, apply_rot_embed_cat
from timm.models.eva import Eva, EvaAttention, EvaBlock, EvaBlockPostNorm
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from ...errors import InputError
from ..layers.attention import Attended, attend
from ..layers.tokens import Tokens
from .base import Geometry
from .pooling import check_pooling, pool_and_classify
from .sequence import SequenceBackbone
from .vit import attn_output, patch_margin

ROPE = "rotary positions"


Blocks = EvaBlock | EvaBlockPostNorm


class SparseEva(SequenceBackbone[Blocks]):
    """Walks timm's `Eva` block by block with its own modules.

    Modifications: attention reads token sizes, and a patch's rotary embedding stays with it.
    """

    networks = (Eva,)
    example = "eva02_small_patch14_224"
    backbone: Eva

    @staticmethod
    def check(network: nn.Module) -> None:
        """Check that blocks are timm's and share one rotary embedding, as all their heads do."""
        assert isinstance(network, Eva)
        check_pooling(network)
        if getattr(network, "rope_mixed", False):
            raise InputError(
                "Rotary embeddings that differ by block and head (rope_mixed) cannot be walked: "
                "take a network with axial ones, as vit_small_patch16_rope_224."
            )
        for block in network.blocks:
            if type(block) not in (EvaBlock, EvaBlockPostNorm):
                raise InputError(
                    f"Blocks of type {type(block).__name__} cannot be walked: the network must "
                    "be made of timm's EvaBlock or EvaBlockPostNorm."
                )
            if type(block.attn) not in (EvaAttention, AttentionRope):
                raise InputError(
                    f"Attention of type {type(block.attn).__name__} cannot be walked: the "
                    "network must use timm's EvaAttention or AttentionRope."
                )

    @staticmethod
    @override
    def margin(network: nn.Module) -> tuple[int, int] | None:
        return patch_margin(network)

    @staticmethod
    @override
    def geometry(network: nn.Module) -> Geometry:
        assert isinstance(network, Eva)
        return Geometry(
            network.embed_dim,
            len(network.blocks),
            network.patch_embed.num_patches,
            class_token=network.cls_token is not None,
            token_data=() if network.rope is None else (ROPE,),
        )

    def embed(self, images: Tensor) -> Tokens:
        """Embed patches and their positions, add prefix tokens and rotary positions."""
        net = self.backbone
        x, rope = net._pos_embed(net.patch_embed(images))
        norm = getattr(net, "norm_pre", None)
        data = {} if rope is None else {ROPE: rope.view(-1, *rope.shape[-2:])}
        return Tokens(x if norm is None else norm(x), prefix=net.num_prefix_tokens, data=data)

    @override
    def blocks(self) -> Iterable[Blocks]:
        return cast("Iterable[Blocks]", self.backbone.blocks)

    def attention(self, block: Blocks, tokens: Tokens) -> tuple[Tensor, Attended]:
        """Run timm's attention between its norm and its layer scale, reading sizes."""
        attn = block.attn
        after = isinstance(block, EvaBlockPostNorm)
        normed = tokens.x if after else block.norm1(tokens.x)
        query, key, value = (
            part.unflatten(-1, (-1, attn.head_dim)).transpose(1, 2)  # (B, H, P+N, D)
            for part in _query_key_value(attn, normed)
        )
        query = _rotated(attn, attn.q_norm(query), tokens).type_as(value)
        key = _rotated(attn, attn.k_norm(key), tokens).type_as(value)
        if (shared := query.shape[1] // key.shape[1]) > 1:  # several queries read the same key
            key, value = (each.repeat_interleave(shared, dim=1) for each in (key, value))
        dropout = attn.attn_drop.p if self.training else 0.0
        mixed = attend(query, key, value, tokens.size, dropout)
        out = attn_output(attn, mixed.transpose(1, 2).flatten(2), normed)
        if isinstance(block, EvaBlockPostNorm):
            out = block.norm1(out)
        elif block.gamma_1 is not None:
            out = block.gamma_1 * out
        return block.drop_path1(out), Attended(query, key, value, attn.scale, tokens.size)

    @override
    def mlp(self, block: Blocks, x: Tensor) -> Tensor:
        if isinstance(block, EvaBlockPostNorm):
            return block.drop_path2(block.norm2(block.mlp(x)))
        out = block.mlp(block.norm2(x))
        if block.gamma_2 is not None:
            out = block.gamma_2 * out
        return block.drop_path2(out)

    @override
    def classify(self, tokens: Tokens) -> tuple[Tensor, Tensor, None]:
        net = self.backbone
        x = net.norm(tokens.x)
        return pool_and_classify(net, x, tokens), x[:, tokens.prefix :], None


def _query_key_value(attn: EvaAttention | AttentionRope, x: Tensor) -> tuple[Tensor, ...]:
    if attn.qkv is None:
        return attn.q_proj(x), attn.k_proj(x), attn.v_proj(x)
    if getattr(attn, "q_bias", None) is None:
        return attn.qkv(x).chunk(3, dim=-1)
    bias = torch.cat(cast("tuple[Tensor, ...]", (attn.q_bias, attn.k_bias, attn.v_bias)))
    if attn.qkv_bias_separate:
        return (attn.qkv(x) + bias).chunk(3, dim=-1)
    return F.linear(x, attn.qkv.weight, bias).chunk(3, dim=-1)


def _rotated(attn: EvaAttention | AttentionRope, x: Tensor, tokens: Tokens) -> Tensor:
    if ROPE not in tokens.data:
        return x
    rope = tokens.data[ROPE].unsqueeze(1)  # (B, 1, N, D)
    half = getattr(attn, "rotate_half", False)
    patches = apply_rot_embed_cat(x[:, :, tokens.prefix :], rope, half=half)
    return torch.cat([x[:, :, : tokens.prefix], patches], dim=2)
