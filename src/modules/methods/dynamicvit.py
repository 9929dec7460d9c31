"""DynamicViT: learned predictors drop tokens, stage by stage (Rao et al., NeurIPS 2021)."""

from __future__ import annotations

from torch import nn

from ...errors import InputError
from ..layers.predictor import Predictor
from ..layers.selection import gumbel_keep, top_keep
from ..layers.tokens import Tokens
from ..schedules import KeepSchedule
from .base import Geometry, TokenReduction


class DynamicViT(TokenReduction):
    """A predictor before each location scores the patch tokens.

    In training a decision is drawn for each token (Gumbel, straight-through) and dropped tokens
    get size 0; at inference the `num_keep` tokens most likely kept go on and the others are
    removed. A dropped token never returns.
    """

    one_head_per_location = True
    draws_masks = True

    def __init__(self, schedule: KeepSchedule, geometry: Geometry) -> None:
        """Make one predictor for each location of `schedule`."""
        if geometry.dim % 4:
            raise InputError(
                f"DynamicViT's predictors quarter the channels, and {geometry.dim} is not a "
                "multiple of 4."
            )
        super().__init__(schedule, geometry)
        self.predictors = nn.ModuleList(Predictor(geometry.dim) for _ in schedule.locations)

    def decide(self, tokens: Tokens, number: int, count: int) -> Tokens:
        """Draw each token in training; keep the likeliest at inference."""
        scores = self.predictors[number](tokens.patches, tokens.patch_size)
        if self.training:
            return tokens.mask(gumbel_keep(scores))
        return tokens.select(top_keep(scores, count))
