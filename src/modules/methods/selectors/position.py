"""Score positions, whatever the image shows there (paper A, Table 4a: the static choice)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from ....errors import InputError
from ...layers.selection import gumbel_keep
from ...layers.tokens import Tokens
from ...schedules import KeepSchedule
from ..base import Geometry
from .base import Seen, Selector


class PositionScore(Selector):
    """Learns one score for each position and location, the same in every image.

    A merged token scores the mean of its positions, a fused one, which has none, lowest. In
    training a decision is drawn for each position (Gumbel, straight-through).
    """

    one_head_per_location = True
    draws_masks = True

    def __init__(self, schedule: KeepSchedule, geometry: Geometry) -> None:
        """Make one small random score for each location and position.

        Raises:
            InputError: If the network takes any resolution, so that positions are not fixed.
        """
        if geometry.num_patches is None:
            raise InputError(
                "method=static scores fixed positions, but this network takes images of any size: "
                "choose a method that scores what it sees, as method=dynamicvit or asymmetric."
            )
        super().__init__(schedule, geometry)
        self.scores = nn.Parameter(
            0.02 * torch.randn(len(schedule.locations), geometry.num_patches)
        )

    @override
    def score(self, tokens: Tokens, number: int, seen: Seen) -> Float[Tensor, "B N"]:
        scores = self._of_positions(tokens, number)
        if tokens.source is None:
            return scores
        places = torch.arange(tokens.patches.shape[1], device=scores.device).to(tokens.source)
        stands = (tokens.source.unsqueeze(1) == places[:, None]).to(scores.dtype)  # (B, N, patches)
        total, positions = (stands * scores.unsqueeze(1)).sum(dim=2), stands.sum(dim=2)
        return torch.where(positions > 0, total / positions.clamp(min=1), -torch.inf)

    @override
    def draw(self, tokens: Tokens, number: int) -> Float[Tensor, "B N"]:
        scores = self._of_positions(tokens, number)
        return gumbel_keep(torch.stack([F.logsigmoid(scores), F.logsigmoid(-scores)], dim=-1))

    def _of_positions(self, tokens: Tokens, number: int) -> Float[Tensor, "B patches"]:
        scores = self.scores[number].expand(tokens.x.shape[0], -1)  # (B, patches)
        if scores.shape[1] != tokens.num_patches:
            raise InputError(
                f"The image has {tokens.num_patches} patches, but method=static has scores for "
                f"{scores.shape[1]} positions: keep the resolution that it was made for."
            )
        return scores
