"""Keep the tokens that the class token attends to most (paper A, Table 4b)."""

from __future__ import annotations

from ..schedules import KeepSchedule
from .base import Geometry
from .disposals.drop import Drop
from .selection import Selection
from .selectors.class_attention import ClassTokenAttention


class ClassAttention(Selection):
    """Keeps the `num_keep` most attended patch tokens after the attention of each location."""

    def __init__(self, schedule: KeepSchedule, geometry: Geometry) -> None:
        """Combine class attention with removal."""
        super().__init__(schedule, geometry, ClassTokenAttention, Drop())
