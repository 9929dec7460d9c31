"""The tokens that the class token attends to most (paper A, Table 4b)."""

from __future__ import annotations

from torch import Tensor

from ..layers.attention import Attended
from ..layers.tokens import Tokens
from .base import TokenReduction


class ClassAttention(TokenReduction):
    """After the attention of each location the `num_keep` most attended patch tokens go on."""

    needs_class_token = True

    def reduce(self, tokens: Tokens, attended: Attended, count: int) -> Tokens:
        """Select."""
        return tokens.select(class_attention(tokens, attended).topk(count, dim=1).indices)


def class_attention(tokens: Tokens, attended: Attended) -> Tensor:
    """The class token's attention to the patch tokens `(B, N)`, mean of the heads."""
    return attended.weights(queries=1)[:, :, 0, tokens.prefix :].mean(dim=1)
