"""Remove what was not selected (DynamicViT, paper A)."""

from __future__ import annotations

from typing_extensions import override

from ...layers import products
from ...layers.tokens import Tokens
from .base import ByProducts, Disposal, Ranking


class Drop(Disposal):
    """Removes the tokens that were not selected."""

    @override
    def __call__(self, tokens: Tokens, ranking: Ranking) -> Tokens:
        return tokens.select(ranking.kept)

    @override
    def by_products(self) -> Disposal:
        return DropByProducts()


class DropByProducts(ByProducts):
    """Computes `Drop` by products with small matrices; refuses tokens with data."""

    @override
    def __call__(self, tokens: Tokens, ranking: Ranking) -> Tokens:
        return products.select(tokens, ranking.score, ranking.count)
