"""Scores positions for routing methods: the part that `QueryPaths` and `Windows` share."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ..layers.tokens import Tokens
from .fast_paths import FastPaths
from .selectors.base import Seen, Selector


class ScoredPaths(FastPaths):
    """Scores all positions anew by a selector before each location, in training as at inference.

    Subclasses set `selector` and choose in `route` what the scores decide.
    """

    selector: Selector

    def scored(
        self, number: int, x: Float[Tensor, "B N C"]
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B C"] | None]:
        """Score positions, and summarize them for the selector's auxiliary loss.

        Args:
            number: Index of the location in the schedule.
            x: `(B, N, C)`, the positions that enter its block.

        Returns:
            Scores `(B, N)` without gradients, and in training the selector's `summary (B, C)`.
        """
        positions = Tokens(x, prefix=0)
        score = self.selector.score(positions, number, Seen())
        summary = self.selector.summary(positions, score) if self.training else None
        return score.detach(), summary
