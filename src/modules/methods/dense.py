"""No method: the network as it is."""

from __future__ import annotations

from ..schedules import KeepSchedule
from .base import Geometry, TokenReduction


class Dense(TokenReduction):
    """Keeps every token; has no parameters, and no locations whatever the schedule says."""

    def __init__(self, schedule: KeepSchedule | None, geometry: Geometry) -> None:
        """Ignore the schedule, so that `method=dense` alone turns sparsification off."""
        super().__init__(KeepSchedule((), ()), geometry)
