"""Score a patch by the class token's attention to it (EViT; paper A, Table 4b)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...layers.tokens import Tokens
from .base import Seen, Selector


class ClassTokenAttention(Selector):
    """Scores by the class token's attention, averaged over the heads; nothing to learn."""

    reads = "attention"
    needs_class_token = True

    @override
    def score(self, tokens: Tokens, number: int, seen: Seen) -> Float[Tensor, "B N"]:
        assert seen.attended is not None
        return seen.attended.weights(queries=1)[:, :, 0, tokens.prefix :].mean(dim=1)

    @override
    def weight(self, score: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
        return score
