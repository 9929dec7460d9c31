"""Slow and fast paths: dynamic spatial sparsification (Rao et al., T-PAMI 2023, paper B)."""

from __future__ import annotations

from torch import Tensor, nn

from ...errors import InputError
from ..layers.paths import Blended, Gathered, TwoPaths, make_fast_path
from ..layers.predictor import Predictor
from ..layers.selection import KEEP, gumbel_keep
from ..schedules import KeepSchedule
from .base import Geometry, SpatialRouting


class Asymmetric(SpatialRouting):
    """A predictor before each location scores all positions anew.

    From the first location on, the blocks' MLPs serve the positions most likely kept and a cheap
    fast path serves the others. In training a decision is drawn for each position (Gumbel,
    straight-through) and blends both paths.
    """

    one_head_per_location = True
    _first = 0  # block with the first fast path

    def __init__(
        self, schedule: KeepSchedule, geometry: Geometry, fast_path: str = "linear"
    ) -> None:
        """Make a predictor for each location and a fast path for each block from the first on.

        Args:
            schedule: Locations count blocks of the third stage.
            geometry: Of the third stage.
            fast_path: See `make_fast_path`.
        """
        if geometry.dim % 4:
            raise InputError(
                f"Predictors quarter the channels, and {geometry.dim} is not a multiple of 4."
            )
        super().__init__(schedule, geometry)
        self._first = min(schedule.locations, default=geometry.depth)
        self.predictors = nn.ModuleList(Predictor(geometry.dim) for _ in schedule.locations)
        # Named by block, so that weights fit wherever the same blocks are routed.
        self.fast_paths = nn.ModuleDict(
            {
                str(layer): make_fast_path(fast_path, geometry.dim, geometry.layer_scale)
                for layer in range(self._first, geometry.depth)
            }
        )

    def _check(self, schedule: KeepSchedule) -> None:
        super()._check(schedule)
        for location in schedule.locations[:1]:
            if location < self._first:
                raise InputError(
                    f"schedule.locations={list(schedule.locations)} starts before block "
                    f"{self._first}, the first with a fast path in this student: start there or "
                    "later."
                )

    def route(self, layer: int, x: Tensor) -> TwoPaths | None:
        """Decide at this method's locations."""
        number = self.number_at(layer)
        if number is None:
            return None
        scores = self.predictors[number](x)
        if self.training:
            return Blended(gumbel_keep(scores))
        order = scores[..., KEEP].argsort(dim=1, descending=True)
        return Gathered(order, self.schedule.num_keep(number, x.shape[1]))

    def fast(self, layer: int, x: Tensor) -> Tensor:
        """The block's own fast path."""
        out: Tensor = self.fast_paths[str(layer)](x)
        return out
