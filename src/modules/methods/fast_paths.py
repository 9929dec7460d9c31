"""Gives routing methods their fast paths; which positions take them is up to each method."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from ...errors import InputError
from ..layers.paths import make_fast_path
from ..schedules import KeepSchedule
from .base import Geometry, SpatialRouting


class FastPaths(SpatialRouting):
    """Puts a cheap fast path beside the MLP of each block from the first location on (paper B).

    Subclasses choose in `route` which positions take it.
    """

    one_head_per_location = True
    fast_paths: nn.ModuleDict
    _first = 0  # block with the first fast path

    def __init__(self, schedule: KeepSchedule, geometry: Geometry) -> None:
        """Find the first block with a fast path; subclasses set `fast_paths`.

        Args:
            schedule: Its locations number the blocks of the third stage.
            geometry: Sizes of the third stage.
        """
        super().__init__(schedule, geometry)
        self._first = min(schedule.locations, default=geometry.depth)

    def make_fast_paths(self, kind: str, geometry: Geometry) -> nn.ModuleDict:
        """Make a fast path of this `kind` (see `make_fast_path`) for each block from the first on.

        They are named by block, so that weights fit wherever the same blocks are routed.
        """
        return nn.ModuleDict(
            {
                str(layer): make_fast_path(kind, geometry.dim, geometry.layer_scale)
                for layer in range(self._first, geometry.depth)
            }
        )

    @override
    def _check(self, schedule: KeepSchedule) -> None:
        super()._check(schedule)
        for location in schedule.locations[:1]:
            if location < self._first:
                raise InputError(
                    f"schedule.locations={list(schedule.locations)} starts before block "
                    f"{self._first}, the first with a fast path in this student: start there or "
                    "later."
                )

    @override
    def fast(self, layer: int, x: Float[Tensor, "B N C"]) -> Float[Tensor, "B N C"]:
        out: Tensor = self.fast_paths[str(layer)](x)
        return out
