"""Remove what was not selected (DynamicViT, paper A)."""

from __future__ import annotations

from typing_extensions import override

from ...layers.tokens import Tokens
from .base import Disposal, Ranking


class Drop(Disposal):
    """Lets the selected tokens go on alone."""

    @override
    def __call__(self, tokens: Tokens, ranking: Ranking) -> Tokens:
        return tokens.select(ranking.kept)
