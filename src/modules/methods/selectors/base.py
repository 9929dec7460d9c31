"""The interface of selectors: they score patch tokens, and the highest scores go on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from ...layers.attention import Attended
from ...layers.tokens import Tokens
from ...schedules import KeepSchedule
from ..base import Geometry


class Selector(nn.Module, ABC):
    """Scores the patch tokens at each location, alike in training and at inference.

    Attributes:
        reads_attention: Score after the attention of a location's block, from what it saw, rather
            than before the block.
        needs_class_token: Read the class token's attention.
        one_head_per_location: Hold parameters for each location of the schedule.
        learns_by_summaries: Learn from an auxiliary loss on `summary`.
    """

    reads_attention: ClassVar[bool] = False
    needs_class_token: ClassVar[bool] = False
    one_head_per_location: ClassVar[bool] = False
    learns_by_summaries: ClassVar[bool] = False

    def __init__(self, schedule: KeepSchedule, geometry: Geometry) -> None:
        """Take the schedule and the network's geometry; selectors without parameters need none."""
        super().__init__()

    @abstractmethod
    def score(self, tokens: Tokens, number: int, attended: Attended | None) -> Tensor:
        """Return a score for each patch token, `(B, N)`; higher goes on.

        Args:
            tokens: At location `number`.
            number: Index of the location in the schedule.
            attended: What attention saw there; None before the block.
        """

    def summary(self, tokens: Tokens, score: Tensor) -> Tensor | None:
        """Return what an auxiliary loss learns the scores from, `(B, C)`; None without one.

        Args:
            tokens: That were scored.
            score: `(B, N)`, their scores.
        """
        return None
