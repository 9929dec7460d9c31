"""DynamicViT: learned predictors drop tokens, stage by stage (Rao et al., NeurIPS 2021)."""

from __future__ import annotations

from ..schedules import KeepSchedule
from .base import Geometry
from .disposals.drop import Drop
from .selection import Selection
from .selectors.predictor import MaskedPredictor


class DynamicViT(Selection):
    """Scores the patch tokens by a predictor before each location.

    In training a decision is drawn for each token (Gumbel, straight-through) and dropped tokens
    get size 0; at inference the `num_keep` tokens most likely kept go on and the others are
    removed. A dropped token never returns.
    """

    former_names = {"predictors.": "selector.predictors."}

    def __init__(self, schedule: KeepSchedule, geometry: Geometry) -> None:
        """Combine predictors with removal."""
        super().__init__(schedule, geometry, MaskedPredictor, Drop())
