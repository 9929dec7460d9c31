"""Downsample as a convolutional network does: every 2x2 patches become one (paper A, Table 4a)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from typing_extensions import override

from ...errors import InputError
from ..layers.tokens import Tokens
from .base import TokenReduction


class Structural(TokenReduction):
    """Averages each 2x2 neighborhood once, before the middle one of the schedule's locations.

    Of a clip it averages those of each place in time.
    The keep ratio has no say in it: a quarter of the tokens is left.
    """

    merges = True
    ignores_rho = "method=structural leaves a quarter of the tokens"

    @override
    def before_block(self, layer: int, tokens: Tokens) -> Tokens:
        locations = self.schedule.locations
        if not locations or layer != locations[len(locations) // 2]:
            return tokens
        frames = math.prod((tokens.grid or ())[:-2])
        side = math.isqrt(tokens.num_patches // frames)
        if frames * side * side != tokens.num_patches:
            raise InputError(
                f"method=structural pools a square grid, and {tokens.num_patches} patches do not "
                "form one: give square images."
            )
        pooled = (side + 1) // 2
        rows = torch.arange(side, device=tokens.x.device) // 2
        group = rows[:, None] * pooled + rows[None, :]
        starts = pooled * pooled * torch.arange(frames, device=tokens.x.device)
        group = (starts[:, None, None] + group).flatten().expand(tokens.x.shape[0], -1)
        return replace(tokens.merge(group, frames * pooled * pooled), size=None)
