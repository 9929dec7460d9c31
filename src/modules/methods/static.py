"""Keeps the same positions in every image, by a learned score of each (paper A, Table 4a)."""

from __future__ import annotations

from ..schedules import KeepSchedule
from .base import Geometry
from .disposals.drop import Drop
from .selection import Selection
from .selectors.position import PositionScore


class Static(Selection):
    """Scores each position as DynamicViT does each patch, whatever the image shows there."""

    former_names = {"scores": "selector.scores"}

    def __init__(self, schedule: KeepSchedule, geometry: Geometry) -> None:
        """Combine scores of positions with removal."""
        super().__init__(schedule, geometry, PositionScore, Drop())
