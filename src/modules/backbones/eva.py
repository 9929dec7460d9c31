"""Walks plain transformers with rotary positions: timm's `Eva` (EVA-02, DINOv3, RoPE-ViT, PE)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar, cast

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
from .vit import attn_output, logit_scale, patch_margin

ROPE, PLACES = "rotary positions", "places"


Blocks = EvaBlock | EvaBlockPostNorm


class SparseEva(SequenceBackbone[Blocks]):
    """Walks timm's `Eva` block by block with its own modules.

    Modifications: attention reads token sizes, and a patch's rotary embedding stays with it; a
    merged token has that of its heaviest member.
    """

    networks: ClassVar[tuple[type[nn.Module], ...]] = (Eva,)
    example: ClassVar[str | None] = "eva02_small_patch14_224"
    backbone: Eva

    @staticmethod
    def check(network: nn.Module) -> None:
        """Raise an `InputError` unless blocks and their attention are timm's."""
        assert isinstance(network, Eva)
        check_pooling(network)
        if getattr(network, "rope_mixed", False) and network.patch_drop is not None:
            raise InputError(
                "patch_drop_rate beside rotary embeddings that differ by block (rope_mixed) cannot "
                "be walked: make the network with patch_drop_rate=0."
            )
        check_blocks(network)

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
        )

    def embed(self, images: Tensor) -> Tokens:
        """Embed patches and their positions, add prefix tokens and rotary positions."""
        net = self.backbone
        x, rope = net._pos_embed(net.patch_embed(images))
        norm = getattr(net, "norm_pre", None)
        tokens = Tokens(x if norm is None else norm(x), prefix=net.num_prefix_tokens)
        if rope is None:
            return tokens
        if getattr(net, "rope_mixed", False):  # (blocks, H, patches, D)
            places = torch.arange(rope.shape[-2], device=x.device)
            return replace(tokens, data={PLACES: places[None]}, tables={ROPE: rope})
        return replace(tokens, data={ROPE: rope.view(-1, *rope.shape[-2:])})

    @override
    def blocks(self) -> Iterable[Blocks]:
        return cast("Iterable[Blocks]", self.backbone.blocks)

    def attention(self, block: Blocks, tokens: Tokens) -> tuple[Tensor, Attended]:
        """Run timm's attention between its norm and its layer scale, reading sizes."""
        attn = block.attn
        after = isinstance(block, EvaBlockPostNorm)
        normed = tokens.x if after else block.norm1(tokens.x)
        parts = _query_key_value(attn, normed)
        head_dim = parts[0].shape[-1] // attn.num_heads  # keys and values may have fewer heads
        query, key, value = (
            part.unflatten(-1, (-1, head_dim)).transpose(1, 2)  # (B, H, P+N, D)
            for part in parts
        )
        rope = self._rope(block, tokens)
        query = _rotated(attn, attn.q_norm(query), rope, tokens.prefix).type_as(value)
        key = _rotated(attn, attn.k_norm(key), rope, tokens.prefix).type_as(value)
        if (shared := query.shape[1] // key.shape[1]) > 1:  # several queries read the same key
            key, value = (each.repeat_interleave(shared, dim=1) for each in (key, value))
        dropout = attn.attn_drop.p if attn.training else 0.0
        scale = logit_scale(attn, query)
        mixed = attend(query, key, value, tokens.size, dropout, scale)
        out = attn_output(attn, mixed.transpose(1, 2).flatten(2), normed)
        if isinstance(block, EvaBlockPostNorm):
            out = block.norm1(out)
        elif (gamma := getattr(block, "gamma_1", None)) is not None:  # DeepSeek's blocks have none
            out = gamma * out
        return block.drop_path1(out), Attended(query, key, value, scale, tokens.size)

    def _rope(self, block: Blocks, tokens: Tokens) -> Tensor | None:
        """Return the patches' rotary embeddings in this block, `(B, H, N, D)`; B, H may be 1."""
        if ROPE in tokens.data:
            return tokens.data[ROPE].unsqueeze(1)
        if ROPE not in tokens.tables:
            return None
        number = next(i for i, each in enumerate(self.blocks()) if each is block)
        table = tokens.tables[ROPE][number]  # (H, patches, D)
        return table[:, tokens.data[PLACES]].transpose(0, 1)

    @override
    def mlp(self, block: Blocks, x: Tensor) -> Tensor:
        if isinstance(block, EvaBlockPostNorm):
            return block.drop_path2(block.norm2(block.mlp(x)))
        out = block.mlp(block.norm2(x))
        if (scale := getattr(block, "gamma_2", None)) is not None:
            out = scale * out
        return block.drop_path2(out)

    @override
    def classify(self, tokens: Tokens) -> tuple[Tensor, Tensor, None]:
        net = self.backbone
        x = net.norm(tokens.x)
        return pool_and_classify(net, x, tokens), x[:, tokens.prefix :], None


def check_blocks(network: Eva) -> None:
    """Raise an `InputError` unless blocks and their attention are timm's."""
    for block in network.blocks:
        if type(block) not in (EvaBlock, EvaBlockPostNorm):
            raise InputError(
                f"Blocks of type {type(block).__name__} cannot be sparsified: the network must "
                "be made of timm's EvaBlock or EvaBlockPostNorm."
            )
        if type(block.attn) not in (EvaAttention, AttentionRope):
            raise InputError(
                f"Attention of type {type(block.attn).__name__} cannot be sparsified: the "
                "network must use timm's EvaAttention or AttentionRope."
            )


def _query_key_value(attn: EvaAttention | AttentionRope, x: Tensor) -> tuple[Tensor, ...]:
    if attn.qkv is None:
        return attn.q_proj(x), attn.k_proj(x), attn.v_proj(x)
    if getattr(attn, "q_bias", None) is None:
        return attn.qkv(x).chunk(3, dim=-1)
    bias = torch.cat(cast("tuple[Tensor, ...]", (attn.q_bias, attn.k_bias, attn.v_bias)))
    if attn.qkv_bias_separate:
        return (attn.qkv(x) + bias).chunk(3, dim=-1)
    return F.linear(x, attn.qkv.weight, bias).chunk(3, dim=-1)


def _rotated(
    attn: EvaAttention | AttentionRope, x: Tensor, rope: Tensor | None, prefix: int
) -> Tensor:
    if rope is None:
        return x
    half = getattr(attn, "rotate_half", False)
    patches = apply_rot_embed_cat(x[:, :, prefix:], rope, half=half)
    return torch.cat([x[:, :, :prefix], patches], dim=2)
