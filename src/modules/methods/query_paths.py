"""Chooses slow and fast paths by a learned query; in training too a position takes one path."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ..layers.paths import Gathered, TwoPaths
from ..schedules import KeepSchedule
from .base import Geometry
from .scored_paths import ScoredPaths
from .selectors.query import LearnedQuery


class QueryPaths(ScoredPaths):
    """Scores all positions anew by a learned query before each location (see `LearnedQuery`).

    Training computes what inference computes: the MLP on the best positions, the fast path on the
    others. Scores learn from an auxiliary loss (`src.modules.auxiliary`).
    """

    learns_by_summaries = True
    scorers = ("selector",)

    def __init__(
        self, schedule: KeepSchedule, geometry: Geometry, fast_path: str = "linear"
    ) -> None:
        """Make a query for each location and a fast path for each block from the first on.

        Args:
            schedule: Its locations number the blocks of the third stage.
            geometry: Sizes of the third stage.
            fast_path: See `make_fast_path`.
        """
        super().__init__(schedule, geometry)
        self.selector = LearnedQuery(schedule, geometry)
        self.fast_paths = self.make_fast_paths(fast_path, geometry)

    @override
    def route(self, layer: int, x: Float[Tensor, "B N C"]) -> TwoPaths | None:
        number = self.number_at(layer)
        if number is None:
            return None
        score, summary = self.scored(number, x)
        order = score.argsort(dim=1, descending=True)
        return Gathered(order, self.schedule.num_keep(number, x.shape[1]), summary)
