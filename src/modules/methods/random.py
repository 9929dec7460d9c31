"""Keep random tokens: the baseline of every selection (paper A, Table 4b)."""

from __future__ import annotations

from ..schedules import KeepSchedule
from .base import Geometry
from .disposals.drop import Drop
from .selection import Selection
from .selectors.chance import Chance


class Random(Selection):
    """Keeps `num_keep` random patch tokens at each location, drawn anew for each image."""

    def __init__(self, schedule: KeepSchedule, geometry: Geometry) -> None:
        """Combine chance with removal."""
        super().__init__(schedule, geometry, Chance, Drop())
