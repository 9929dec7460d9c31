"""Score a patch by the class token's attention to it times the norm of its value (ATS)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...layers.tokens import Tokens
from .base import Seen
from .class_attention import ClassTokenAttention


class ClassTokenValue(ClassTokenAttention):
    """Scores by the class token's attention to a patch times the norm of the patch's value.

    The product is averaged over the heads. A patch that is attended to but whose value is near 0,
    as of attention sinks, scores low. There is nothing to learn, and only one row of attention to
    compute.

    Source: Fayyaz et al., "Adaptive Token Sampling" (ECCV 2022, arXiv:2111.15667), whose score is
    the same product for each head.
    """

    @override
    def score(self, tokens: Tokens, number: int, seen: Seen) -> Float[Tensor, "B N"]:
        return self.of(tokens, seen)

    @staticmethod
    def of(tokens: Tokens, seen: Seen) -> Float[Tensor, "B N"]:
        """Return the score of each patch, `(B, N)`, of what the attention has read."""
        assert seen.attended is not None
        attention = seen.attended.weights(queries=1)[:, :, 0, tokens.prefix :]  # (B, H, N)
        value = seen.attended.value[:, :, tokens.prefix :].float().norm(dim=-1)
        return (attention * value).mean(dim=1)
