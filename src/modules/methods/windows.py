"""Skips attention and MLP of unimportant windows (SparseViT: Chen et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...errors import InputError
from ..layers.windows import WindowScores
from ..schedules import KeepSchedule
from .base import Geometry
from .scored_paths import ScoredPaths
from .selectors.base import Selector


class Windows(ScoredPaths):
    """Scores all positions anew by a selector before each location, and skips windows.

    From the first location on, each block computes only the windows of its own partition (shifted
    or not) whose positions have the highest mean score: the schedule's ratio of them, rounded to
    the nearest number. The others take the fast path, or pass unchanged. Training computes what
    inference computes.

    Source: Chen et al., "SparseViT" (arXiv:2303.17605), which scores by norm, passes skipped
    windows unchanged, and prunes all stages; here only the third is pruned.
    """

    needs_windows = True

    def __init__(
        self,
        schedule: KeepSchedule,
        geometry: Geometry,
        selector: Callable[[KeepSchedule, Geometry], Selector],
        fast_path: str = "identity",
    ) -> None:
        """Make the selector, and a fast path for each block from the first location on.

        Args:
            schedule: Its locations number the blocks of the third stage.
            geometry: Sizes of the third stage.
            selector: Makes a selector that reads tokens, of schedule and geometry; usually its
                class.
            fast_path: See `make_fast_path`.

        Raises:
            InputError: If the selector reads something else, or draws masks in training.
        """
        super().__init__(schedule, geometry)
        self.selector = selector(schedule, geometry)
        if self.selector.reads != "tokens" or self.selector.draws_masks:
            raise InputError(
                f"method.selector {type(self.selector).__name__} cannot score windows: choose one "
                "that reads tokens and draws no masks, as TokenNorm or LearnedQuery."
            )
        self.one_head_per_location = self.selector.one_head_per_location
        self.learns_by_summaries = self.selector.learns_by_summaries
        self.fast_paths = self.make_fast_paths(fast_path, geometry)

    @property
    @override
    def name(self) -> str:
        return f"{type(self).__name__} by {type(self.selector).__name__}"

    @override
    def route(self, layer: int, x: Float[Tensor, "B N C"]) -> WindowScores | None:
        number = self.number_at(layer)
        if number is None:
            return None
        score, summary = self.scored(number, x)
        return WindowScores(score, self.schedule.ratios[number], summary)
