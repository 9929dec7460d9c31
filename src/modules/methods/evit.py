"""EViT: keep attentive tokens, fuse the rest (Liang et al., ICLR 2022, arXiv:2202.07800)."""

from __future__ import annotations

from ..schedules import KeepSchedule
from .base import Geometry
from .disposals.fuse import Fuse
from .selection import Selection
from .selectors.class_attention import ClassTokenAttention


class EViT(Selection):
    """Keeps the most attended patch tokens after the attention of each location.

    The others go on as one token, their sum weighted by the class token's attention (Eq. 4). The
    fused token competes at the next location like any other.
    """

    def __init__(self, schedule: KeepSchedule, geometry: Geometry) -> None:
        """Combine class attention with fusing."""
        super().__init__(schedule, geometry, ClassTokenAttention, Fuse())
