"""Keep random tokens: the least that any choice must beat (paper A, Table 4b)."""

from __future__ import annotations

from ..schedules import KeepSchedule
from .base import Geometry
from .disposals.drop import Drop
from .selection import Selection
from .selectors.chance import Chance


class Random(Selection):
    """Draws the `num_keep` patch tokens that go on at each location anew for each image."""

    def __init__(self, schedule: KeepSchedule, geometry: Geometry) -> None:
        """Combine chance with removal."""
        super().__init__(schedule, geometry, Chance, Drop())
