"""Random tokens: the least that any choice must beat (paper A, Table 4b)."""

from __future__ import annotations

import torch

from ..layers.tokens import Tokens
from .base import TokenReduction


class Random(TokenReduction):
    """Before each location `num_keep` patch tokens go on, drawn anew for each image."""

    def decide(self, tokens: Tokens, number: int, count: int) -> Tokens:
        """Draw."""
        scores = torch.rand_like(tokens.patches[..., 0])
        return tokens.select(scores.topk(count, dim=1).indices)
