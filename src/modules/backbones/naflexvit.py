"""Walks ViTs for images of any size and shape: timm's `NaFlexVit` (SigLIP 2, C-RADIO).

Batches are images `(B, 3, H, W)`; batches of patches with a mask are not accepted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, cast

from timm.layers import PatchEmbed
from timm.models.naflexvit import NaFlexVit, checkpoint_filter_fn
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from typing_extensions import override

from ...errors import InputError
from ..layers.tokens import Tokens
from .base import Geometry, timm_names
from .pooling import check_pooling, pool_and_classify
from .vit import TimmViT, check_blocks


class SparseNaFlexViT(TimmViT):
    """Walks timm's `NaFlexVit` of plain blocks; positions are resampled to the images' grid."""

    networks = (NaFlexVit,)
    example = "naflexvit_base_patch16_gap"
    any_size: ClassVar[dict[str, bool] | None] = {}
    backbone: NaFlexVit  # type: ignore[assignment]

    @staticmethod
    @override
    def check(network: nn.Module) -> None:
        assert isinstance(network, NaFlexVit)
        check_pooling(network)
        if network.rope is not None:
            raise InputError(
                "NaFlexVit with rotary positions cannot be sparsified: make the network with "
                "rope_type='none', or take one of timm's Eva class, as vit_small_patch16_rope_224."
            )
        check_blocks(network.blocks)

    @staticmethod
    @override
    def margin(network: nn.Module) -> None:
        return None

    @staticmethod
    @override
    def geometry(network: nn.Module) -> Geometry:
        assert isinstance(network, NaFlexVit)
        class_token = network.embeds.cls_token is not None
        return Geometry(network.embed_dim, len(network.blocks), None, class_token=class_token)

    @property
    @override
    def patch_embed(self) -> PatchEmbed:
        return cast(PatchEmbed, self.backbone.embeds)  # it counts patches as that does

    @override
    def embed(self, images: Tensor) -> Tokens:
        net = self.backbone
        return Tokens(
            net._forward_embeds(images, None, None, None)["patches"], net.num_prefix_tokens
        )

    @override
    def blocks(self) -> Iterable[Block]:
        return cast("Iterable[Block]", self.backbone.blocks)

    @override
    def classify(self, tokens: Tokens) -> tuple[Tensor, Tensor, None]:
        x = self.backbone.norm(tokens.x)
        return pool_and_classify(self.backbone, x, tokens), x[:, tokens.prefix :], None

    @override
    def import_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return timm_names(checkpoint_filter_fn, weights, self.backbone)
