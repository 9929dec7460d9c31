"""Leaves the network as it is."""

from __future__ import annotations

from ..schedules import KeepSchedule
from .base import Geometry, SpatialRouting, TokenReduction


class Dense(TokenReduction, SpatialRouting):
    """Keeps every token of any network; has no parameters, and no locations whatever is asked."""

    ignores_rho = "method=dense drops nothing"

    def __init__(self, schedule: KeepSchedule | None, geometry: Geometry) -> None:
        """Ignore the schedule, so that `method=dense` alone turns sparsification off."""
        super().__init__(KeepSchedule((), ()), geometry)
