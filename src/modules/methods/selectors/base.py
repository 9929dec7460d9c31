"""Defines selectors, which score patch tokens; the highest scores go on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

from ...layers.attention import Attended
from ...layers.tokens import Tokens
from ...schedules import KeepSchedule
from ..base import Geometry


@dataclass(frozen=True)
class Seen:
    """Holds what a block just did to the tokens, for selectors that score by it.

    Attributes:
        attended: The inputs of the attention in the location's block.
        moved: `(B, P+N, C)`, what the MLP of the block before the location added.
    """

    attended: Attended | None = None
    moved: Float[Tensor, "B T C"] | None = None


class Selector(nn.Module, ABC):
    """Scores the patch tokens at each location.

    Attributes:
        reads: Which tokens it scores, and by what: those that enter a location's block ("tokens"),
            those that leave its attention, by the inputs of that ("attention"), or those that leave
            the block before, by what its MLP added ("mlp").
        needs_class_token: Whether it reads the class token's attention.
        one_head_per_location: Whether it has parameters for each location of the schedule.
        draws_masks: Whether it learns through decisions drawn in training (`draw`).
        learns_by_summaries: Whether it learns from an auxiliary loss on `summary`.
    """

    reads: ClassVar[Literal["tokens", "attention", "mlp"]] = "tokens"
    needs_class_token: ClassVar[bool] = False
    one_head_per_location: ClassVar[bool] = False
    draws_masks: ClassVar[bool] = False
    learns_by_summaries: ClassVar[bool] = False

    def __init__(self, schedule: KeepSchedule, geometry: Geometry) -> None:
        """Check the schedule; selectors without parameters need nothing else."""
        super().__init__()
        self.check(schedule)

    def check(self, schedule: KeepSchedule) -> None:
        """Raise an `InputError` if the tokens cannot be scored at a location of `schedule`."""

    @abstractmethod
    def score(self, tokens: Tokens, number: int, seen: Seen) -> Float[Tensor, "B N"]:
        """Return a score for each patch token, `(B, N)`; higher goes on.

        Args:
            tokens: Those at location `number`.
            number: Index of the location in the schedule.
            seen: What the block did, as far as `reads` asks for it.
        """

    def weight(self, score: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
        """Return each token's weight where several are summed, `(B, N)`: softmax of the scores.

        Args:
            score: `(B, N)`.
        """
        return score.float().softmax(dim=1)

    def draw(self, tokens: Tokens, number: int) -> Float[Tensor, "B N"]:
        """Return decisions for training, `(B, N)` with 1 = keep, if it `draws_masks`.

        The selector learns through them: in training tokens stay in place under a mask, and only
        inference removes them. Without drawn decisions training removes tokens too.

        Args:
            tokens: All that entered the network; earlier decisions are in their sizes.
            number: Index of the location in the schedule.

        Raises:
            NotImplementedError: If it does not draw decisions.
        """
        raise NotImplementedError

    def summary(self, tokens: Tokens, score: Float[Tensor, "B N"]) -> Float[Tensor, "B C"] | None:
        """Return the summary on which an auxiliary loss trains the scores, `(B, C)`, or None.

        Args:
            tokens: Those that were scored.
            score: `(B, N)`, their scores.
        """
        return None
