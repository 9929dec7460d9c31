"""The same places in every image: one learned score per position (paper A, Table 4a)."""

from __future__ import annotations

from ..schedules import KeepSchedule
from .base import Geometry
from .disposals.drop import Drop
from .selection import Selection
from .selectors.position import PositionScore


class Static(Selection):
    """Scores as DynamicViT does, but each position and not what is seen there."""

    former_names = {"scores": "selector.scores"}

    def __init__(self, schedule: KeepSchedule, geometry: Geometry) -> None:
        """Combine scores of positions with removal."""
        super().__init__(schedule, geometry, PositionScore, Drop())
