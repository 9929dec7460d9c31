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
        attended: What the attention of the location's block saw.
        moved: `(B, P+N, C)`, what the MLP of the block before the location added.
    """

    attended: Attended | None = None
    moved: Float[Tensor, "B T C"] | None = None


class Selector(nn.Module, ABC):
    """Scores the patch tokens at each location.

    Attributes:
        reads: Score the tokens that enter a location's block ("tokens"), those that leave its
            attention, by what that saw ("attention"), or those that the block before hands on, by
            what its MLP added ("mlp").
        needs_class_token: Read the class token's attention.
        one_head_per_location: Hold parameters for each location of the schedule.
        draws_masks: Learn through decisions drawn in training (`draw`).
        learns_by_summaries: Learn from an auxiliary loss on `summary`.
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
            tokens: At location `number`.
            number: Index of the location in the schedule.
            seen: What the selector reads of the block.
        """

    def weight(self, score: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
        """Return each token's weight where several are summed, `(B, N)`: softmax of the scores.

        Args:
            score: `(B, N)`.
        """
        return score.float().softmax(dim=1)

    def draw(self, tokens: Tokens, number: int) -> Float[Tensor, "B N"]:
        """Return decisions for training, `(B, N)` with 1 = keep, if it `draws_masks`.

        It learns through them: tokens stay in place under a mask in training and are removed at
        inference alone. Selectors that do not draw have tokens removed in training too.

        Args:
            tokens: All that entered the network; earlier decisions are in their sizes.
            number: Index of the location in the schedule.
        """
        raise NotImplementedError

    def summary(self, tokens: Tokens, score: Float[Tensor, "B N"]) -> Float[Tensor, "B C"] | None:
        """Return what an auxiliary loss learns the scores from, `(B, C)`; None without one.

        Args:
            tokens: That were scored.
            score: `(B, N)`, their scores.
        """
        return None
