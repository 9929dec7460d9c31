"""Leaves the network as it is."""

from __future__ import annotations

from ..schedules import KeepSchedule
from .base import Geometry, SpatialRouting, TokenReduction


class Dense(TokenReduction, SpatialRouting):
    """Keeps every token of any network; it has no parameters and no locations."""

    ignores_rho = "method=dense drops nothing"

    def __init__(self, schedule: KeepSchedule | None, geometry: Geometry) -> None:
        """Ignore `schedule`, so that `method=dense` alone turns sparsification off."""
        super().__init__(KeepSchedule((), ()), geometry)
