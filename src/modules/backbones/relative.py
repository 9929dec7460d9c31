"""Walks plain transformers with relative positions, whose bias follows the tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from ..layers.tokens import Tokens
from .base import Geometry
from .pooling import pool_and_classify
from .sequence import SequenceBackbone
from .timm_parts import PlainTransformer
from .vit import patch_margin

PLACES = "relative positions"

BlockT = TypeVar("BlockT")


@dataclass(frozen=True)
class Biased(Generic[BlockT]):
    """Holds a block and the bias on its logits, in the order of the image's patches.

    Attributes:
        block: timm's block.
        bias: `(1, H, P+patches, P+patches)`, or None where the block has no relative positions.
    """

    block: BlockT
    bias: Float[Tensor, "1 H T T"] | None


class RelativeBackbone(SequenceBackbone[Biased[BlockT]], Generic[BlockT]):
    """Walks blocks whose logits have a bias for each head and each pair of places.

    Each patch token carries its place, a merged one that of its heaviest member; the bias is read
    at the places that are left. The tables are made for one image size.
    """

    any_size = None

    @staticmethod
    @override
    def margin(network: nn.Module) -> tuple[int, int] | None:
        return patch_margin(network)

    @staticmethod
    @override
    def geometry(network: nn.Module) -> Geometry:
        net = cast(PlainTransformer, network)
        return Geometry(
            net.embed_dim,
            len(net.blocks),
            net.patch_embed.num_patches,
            class_token=net.cls_token is not None,
        )

    @override
    def classify(self, tokens: Tokens) -> tuple[Tensor, Tensor, None]:
        x = self._network.norm(tokens.x)
        return pool_and_classify(self.backbone, x, tokens), x[:, tokens.prefix :], None


def placed(x: Float[Tensor, "B T C"], prefix: int) -> Tokens:
    """Return tokens `x (B, P+patches, C)` that carry their places."""
    places = torch.arange(x.shape[1] - prefix, device=x.device)
    return Tokens(x, prefix=prefix, data={PLACES: places[None]})


def bias_of(
    bias: Float[Tensor, "1 H T T"] | None, tokens: Tokens
) -> Float[Tensor, "#B H K K"] | None:
    """Return the rows and columns of `bias` that belong to `tokens`, `(B, H, P+N, P+N)`."""
    if bias is None or tokens.source is None:
        return bias
    places = tokens.data[PLACES] + tokens.prefix  # (B, N)
    prefix = torch.arange(tokens.prefix, device=places.device).expand(len(places), -1)
    index = torch.cat([prefix, places], dim=1)  # (B, P+N)
    return bias[0][:, index[:, :, None], index[:, None, :]].transpose(0, 1)
