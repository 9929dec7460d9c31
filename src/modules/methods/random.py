"""Random tokens: the least that any choice must beat (paper A, Table 4b)."""

from __future__ import annotations

import torch

from ..layers.tokens import Tokens
from .base import TokenReduction


class Random(TokenReduction):
    """Before each location `num_keep` patch tokens go on, drawn anew for each image."""

    def before_block(self, layer: int, tokens: Tokens) -> Tokens:
        """Draw at this method's locations."""
        stage = self.stage_at(layer)
        if stage is None:
            return tokens
        scores = torch.rand_like(tokens.patches[..., 0])
        count = self.schedule.num_keep(stage, tokens.num_patches)
        return tokens.select(scores.topk(count, dim=1).indices)
