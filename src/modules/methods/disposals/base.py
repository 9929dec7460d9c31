"""The interface of disposals: they make the tokens that go on from those that were selected."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...layers.attention import Attended
from ...layers.tokens import Tokens


@dataclass(frozen=True)
class Ranking:
    """The patch tokens of a location by their scores.

    Attributes:
        order: `(B, N)`, indices of the patch tokens, best first.
        count: How many go on, K.
        score: `(B, N)`, in the order of the tokens.
    """

    order: Tensor
    count: int
    score: Tensor

    @property
    def kept(self) -> Tensor:
        """Indices of the tokens that go on, `(B, K)`."""
        return self.order[:, : self.count]

    @property
    def dropped(self) -> Tensor:
        """Indices of the others, `(B, N-K)`."""
        return self.order[:, self.count :]


class Disposal(ABC):
    """Decides what becomes of the tokens that were not selected.

    `merges` says that it sums or averages tokens, which those with rotary positions refuse.
    """

    merges: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, tokens: Tokens, ranking: Ranking, attended: Attended | None) -> Tokens:
        """Return the tokens that go on.

        Args:
            tokens: All tokens of the location.
            ranking: Their order; fewer are kept than there are.
            attended: What attention saw, if the selector reads it.
        """
