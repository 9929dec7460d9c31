"""Defines disposals, which make the tokens that go on from those that were selected."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from ...layers import products
from ...layers.tokens import Tokens


@dataclass(frozen=True)
class Ranking:
    """Ranks the patch tokens of a location by their scores.

    Attributes:
        score: `(B, N)`, higher goes on.
        weight: `(B, N)`, each token's weight in a sum of several.
        count: How many go on, K < N.
    """

    score: Float[Tensor, "B N"]
    weight: Float[Tensor, "B N"]
    count: int

    @property
    def kept(self) -> Int[Tensor, "B K"]:
        """Return the indices of the tokens that go on, `(B, K)`, best first."""
        return self.score.topk(self.count, dim=1).indices

    def split(self) -> tuple[Int[Tensor, "B K"], Int[Tensor, "B rest"]]:
        """Return those that go on `(B, K)` and the others `(B, N-K)`, as indices, best first."""
        order = self.score.argsort(dim=1, descending=True)
        return order[:, : self.count], order[:, self.count :]


class Disposal(ABC):
    """Decides what becomes of the tokens that were not selected.

    `merges` says that it sums or averages tokens.
    """

    merges: ClassVar[bool] = False

    def by_products(self) -> Disposal | None:
        """Return a disposal that does the same by matrix products (`layers.products`), or None."""
        return None

    def order(self, ranking: Ranking) -> Int[Tensor, "B K"]:
        """Return the indices of the tokens that go on, `(B, K)`, in the order of its result."""
        return ranking.kept

    @abstractmethod
    def __call__(self, tokens: Tokens, ranking: Ranking) -> Tokens:
        """Return the tokens that go on.

        Args:
            tokens: All tokens of the location.
            ranking: Their scores, and how many go on: fewer than there are.
        """


class ByProducts(Disposal):
    """Works without sorting and look-ups, and orders the tokens as `layers.products` does."""

    @override
    def order(self, ranking: Ranking) -> Int[Tensor, "B K"]:
        return products.order(ranking.score, ranking.count)
