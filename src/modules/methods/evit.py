"""EViT: keep attentive tokens, fuse the rest (Liang et al., ICLR 2022, arXiv:2202.07800)."""

from __future__ import annotations

from ..layers.attention import Attended
from ..layers.tokens import Tokens
from .attention import class_attention
from .base import TokenReduction


class EViT(TokenReduction):
    """After the attention of each location the most attended patch tokens go on.

    The others go on as one token, their sum weighted by the class token's attention (Eq. 4). The
    fused token competes at the next location like any other.
    """

    needs_class_token = True
    merges = True

    def reduce(self, tokens: Tokens, attended: Attended, count: int) -> Tokens:
        """Keep and fuse; at a ratio of 1 nothing is left to fuse."""
        if count >= tokens.patches.shape[1]:
            return tokens
        attention = class_attention(tokens, attended)
        return tokens.fuse(attention.topk(count, dim=1).indices, attention)
