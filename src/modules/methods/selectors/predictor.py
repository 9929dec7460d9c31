"""Score patches by a small network that learns under masks (DynamicViT: paper A, Eq. 1-7)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from ....errors import InputError
from ...layers.predictor import Predictor
from ...layers.selection import KEEP, gumbel_keep
from ...layers.tokens import Tokens
from ...schedules import KeepSchedule
from ..base import Geometry
from .base import Seen, Selector


class MaskedPredictor(Selector):
    """Scores a patch by its log-probability of being kept, from a predictor for each location.

    In training a decision is drawn for each token (Gumbel, straight-through).
    """

    one_head_per_location = True
    draws_masks = True

    def __init__(self, schedule: KeepSchedule, geometry: Geometry) -> None:
        """Make one predictor for each location of `schedule`.

        Raises:
            InputError: If the channels are not a multiple of 4.
        """
        if geometry.dim % 4:
            raise InputError(
                f"DynamicViT's predictors divide the channels by 4, and {geometry.dim} is not a "
                "multiple of 4."
            )
        super().__init__(schedule, geometry)
        self.predictors = nn.ModuleList(Predictor(geometry.dim) for _ in schedule.locations)

    @override
    def score(self, tokens: Tokens, number: int, seen: Seen) -> Float[Tensor, "B N"]:
        return self._log_probabilities(tokens, number)[..., KEEP]

    @override
    def draw(self, tokens: Tokens, number: int) -> Float[Tensor, "B N"]:
        return gumbel_keep(self._log_probabilities(tokens, number))

    def _log_probabilities(self, tokens: Tokens, number: int) -> Float[Tensor, "B N 2"]:
        scores: Tensor = self.predictors[number](tokens.patches, tokens.patch_size)
        return scores
