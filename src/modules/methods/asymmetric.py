"""Chooses slow and fast paths by learned predictors (Rao et al., T-PAMI 2023, paper B)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from ...errors import InputError
from ..layers.paths import Blended, Gathered, TwoPaths
from ..layers.predictor import Predictor
from ..layers.selection import KEEP, gumbel_keep
from ..schedules import KeepSchedule
from .base import Geometry
from .fast_paths import FastPaths


class Asymmetric(FastPaths):
    """Scores all positions anew by a predictor before each location.

    From the first location on, the blocks' MLPs serve the positions most likely kept and a cheap
    fast path serves the others. In training a decision is drawn for each position (Gumbel,
    straight-through) and blends both paths.
    """

    draws_masks = True
    scorers = ("predictors",)

    def __init__(
        self, schedule: KeepSchedule, geometry: Geometry, fast_path: str = "linear"
    ) -> None:
        """Make a predictor for each location and a fast path for each block from the first on.

        Args:
            schedule: Its locations number the blocks of the third stage.
            geometry: Sizes of the third stage.
            fast_path: See `make_fast_path`.

        Raises:
            InputError: If the channels are not a multiple of 4.
        """
        if geometry.dim % 4:
            raise InputError(
                f"Predictors divide the channels by 4, and {geometry.dim} is not a multiple of 4."
            )
        super().__init__(schedule, geometry)
        self.predictors = nn.ModuleList(Predictor(geometry.dim) for _ in schedule.locations)
        self.fast_paths = self.make_fast_paths(fast_path, geometry)

    @override
    def route(self, layer: int, x: Float[Tensor, "B N C"]) -> TwoPaths | None:
        number = self.number_at(layer)
        if number is None:
            return None
        scores = self.predictors[number](x)
        if self.training:
            return Blended(gumbel_keep(scores))
        order = scores[..., KEEP].argsort(dim=1, descending=True)
        return Gathered(order, self.schedule.num_keep(number, x.shape[1]))
