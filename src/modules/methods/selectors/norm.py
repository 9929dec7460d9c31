"""Score a patch by the length of its token: a baseline that costs nothing."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...layers.tokens import Tokens
from .base import Seen, Selector


class TokenNorm(Selector):
    """Scores by the Euclidean norm of each token as it enters the block; nothing to learn."""

    @override
    def score(self, tokens: Tokens, number: int, seen: Seen) -> Float[Tensor, "B N"]:
        return tokens.patches.float().norm(dim=-1)
