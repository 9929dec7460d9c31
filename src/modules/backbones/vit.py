"""Walks plain vision transformers: timm's `VisionTransformer` (DeiT, AugReg, DINOv2, DeiT-III)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, cast

from timm.layers import Attention
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from typing_extensions import override

from ...errors import InputError
from ..layers.attention import Attended, attend
from ..layers.tokens import Tokens
from .base import Geometry
from .pooling import check_pooling, pool_and_classify
from .sequence import SequenceBackbone
from .timm_parts import PlainTransformer, Projection, Scaled


class TimmViT(SequenceBackbone[Block]):
    """Walks networks made of timm's ViT blocks with their own modules.

    Modifications: attention reads token sizes.
    """

    backbone: VisionTransformer

    @staticmethod
    def check(network: nn.Module) -> None:
        """Raise an `InputError` unless blocks, attention and pooling are timm's standard ones."""
        assert isinstance(network, VisionTransformer)
        check_pooling(network)
        check_blocks(network.blocks)

    @staticmethod
    @override
    def margin(network: nn.Module) -> tuple[int, int] | None:
        return patch_margin(network)

    @staticmethod
    @override
    def geometry(network: nn.Module) -> Geometry:
        assert isinstance(network, VisionTransformer)
        return Geometry(
            network.embed_dim,
            len(network.blocks),
            network.patch_embed.num_patches,
            class_token=network.cls_token is not None,
        )

    @override
    def embed(self, images: Tensor) -> Tokens:
        net = self.backbone
        x = net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(images))))
        return Tokens(x, prefix=net.num_prefix_tokens)

    @override
    def blocks(self) -> Iterable[Block]:
        return cast("Iterable[Block]", self.backbone.blocks)

    def attention(self, block: Block, tokens: Tokens) -> tuple[Tensor, Attended]:
        """Run timm's `Attention.forward` between its norm and its layer scale, reading sizes."""
        normed = block.norm1(tokens.x)
        attn = cast(Attention, block.attn)
        heads = attn.qkv(normed).reshape(*normed.shape[:2], 3, attn.num_heads, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, P+N, D) each
        query, key = attn.q_norm(query), attn.k_norm(key)
        dropout = attn.attn_drop.p if attn.training else 0.0
        scale = logit_scale(attn, query)
        mixed = attend(query, key, value, tokens.size, dropout, scale)
        out = attn_output(attn, mixed.transpose(1, 2).flatten(2), normed)
        return block.drop_path1(block.ls1(out)), Attended(query, key, value, scale, tokens.size)

    @override
    def mlp(self, block: Block, x: Tensor) -> Tensor:
        return block.drop_path2(block.ls2(block.mlp(block.norm2(x))))


class SparseViT(TimmViT):
    """Walks timm's `VisionTransformer`, distilled ones too; pooling weighs features by size."""

    networks: ClassVar[tuple[type[nn.Module], ...]] = (VisionTransformer,)
    example = "deit_small_patch16_224"

    @override
    def classify(self, tokens: Tokens) -> tuple[Tensor, Tensor, None]:
        net = self.backbone
        x = net.norm(tokens.x)
        return pool_and_classify(net, x, tokens), x[:, tokens.prefix :], None


def check_blocks(blocks: Iterable[nn.Module]) -> None:
    """Raise an `InputError` unless all are timm's pre-norm `Block` with its standard attention."""
    for block in blocks:
        if type(block) is not Block:
            raise InputError(
                f"Blocks of type {type(block).__name__} cannot be sparsified: the network must "
                "be made of timm's standard Block."
            )
        if type(block.attn) is not Attention:
            raise InputError(
                f"Attention of type {type(block.attn).__name__} cannot be sparsified: the "
                "network must use timm's standard Attention."
            )


def patch_margin(network: nn.Module) -> tuple[int, int] | None:
    """Return the sides of image and patch in pixels if patches leave a margin, else None."""
    embed = cast(PlainTransformer, network).patch_embed
    if getattr(embed, "dynamic_img_pad", False):
        return None
    sides = zip(embed.img_size or (), embed.patch_size, strict=False)
    return next(((side, patch) for side, patch in sides if side % patch), None)


def logit_scale(attn: nn.Module, query: Tensor) -> float:
    """Return timm's factor on the logits of `query (B, H, T, D)`; fused, it ignores `scale`."""
    own = cast(Scaled, attn)
    return query.shape[-1] ** -0.5 if own.fused_attn else own.scale


def attn_output(attn: nn.Module, mixed: Tensor, normed: Tensor) -> Tensor:
    """Apply what timm does to the heads' outputs `mixed (B, T, C)`: norm, gate, projection."""
    norm, gate = getattr(attn, "norm", None), getattr(attn, "gate", None)  # not in older timm
    if norm is not None:
        mixed = norm(mixed)
    if gate is not None:
        mixed = mixed * gate(normed).sigmoid()
    ending = cast(Projection, attn)
    return ending.proj_drop(ending.proj(mixed))
