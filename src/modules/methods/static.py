"""The same places in every image: one learned score per position (paper A, Table 4a)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError
from ..layers.selection import gumbel_keep
from ..layers.tokens import Tokens
from ..schedules import KeepSchedule
from .base import Geometry, TokenReduction


class Static(TokenReduction):
    """As DynamicViT, but a score belongs to a position and not to what is seen there."""

    one_head_per_location = True
    draws_masks = True

    def __init__(self, schedule: KeepSchedule, geometry: Geometry) -> None:
        """Make one score for each location and position; all alike, near enough to be moved."""
        if geometry.num_patches is None:
            raise InputError(
                "Static scores belong to positions, and this network takes any resolution: choose "
                "a method of two paths, as method=asymmetric."
            )
        super().__init__(schedule, geometry)
        self.scores = nn.Parameter(
            0.02 * torch.randn(len(schedule.locations), geometry.num_patches)
        )

    def decide(self, tokens: Tokens, number: int, count: int) -> Tokens:
        """Draw by position in training; take the best positions at inference."""
        scores = self.scores[number].expand(tokens.x.shape[0], -1)  # (B, patches)
        if scores.shape[1] != tokens.num_patches:
            raise InputError(
                f"The image has {tokens.num_patches} patches, but method=static has scores for "
                f"{scores.shape[1]} positions: keep the resolution that it was made for."
            )
        if self.training:
            return tokens.mask(gumbel_keep(_keep_and_drop(scores)))
        best = scores.masked_fill(tokens.survivors() == 0, -torch.inf).topk(count, dim=1).indices
        return tokens.select(best if tokens.source is None else tokens.source.gather(1, best))


def _keep_and_drop(scores: Tensor) -> Tensor:
    return torch.stack([F.logsigmoid(scores), F.logsigmoid(-scores)], dim=-1)
