"""Random tokens: the least that any choice must beat (paper A, Table 4b)."""

from __future__ import annotations

from ..schedules import KeepSchedule
from .base import Geometry
from .disposals.drop import Drop
from .selection import Selection
from .selectors.chance import Chance


class Random(Selection):
    """Before each location `num_keep` patch tokens go on, drawn anew for each image."""

    def __init__(self, schedule: KeepSchedule, geometry: Geometry) -> None:
        """Combine chance with removal."""
        super().__init__(schedule, geometry, Chance, Drop())
