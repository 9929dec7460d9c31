"""Sum what was not selected into one token (EViT: Liang et al., ICLR 2022, Eq. 4)."""

from __future__ import annotations

from typing_extensions import override

from ...layers import products
from ...layers.tokens import Tokens
from .base import ByProducts, Disposal, Ranking


class Fuse(Disposal):
    """Sums the unselected tokens into one, weighted by the selector (`Selector.weight`)."""

    merges = True

    @override
    def __call__(self, tokens: Tokens, ranking: Ranking) -> Tokens:
        return tokens.fuse(ranking.kept, ranking.weight)

    @override
    def by_products(self) -> Disposal:
        return FuseByProducts()


class FuseByProducts(ByProducts):
    """Computes `Fuse` by products with small matrices, without look-ups."""

    merges = True

    @override
    def __call__(self, tokens: Tokens, ranking: Ranking) -> Tokens:
        return products.fuse(tokens, ranking.score, ranking.count, ranking.weight)
