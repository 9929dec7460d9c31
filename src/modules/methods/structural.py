"""Downsample as a convolutional network does: every 2x2 patches become one (paper A, Table 4a)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from typing_extensions import override

from ..layers.tokens import Tokens
from .base import TokenReduction


class Structural(TokenReduction):
    """Averages each 2x2 neighborhood once, before the middle one of the schedule's locations.

    In a clip the neighborhoods are those of each place in time. The keep ratio changes nothing: a
    quarter of the tokens is left, and more where rows or columns are odd in number.
    """

    merges = True
    ignores_rho = "method=structural leaves a quarter of the tokens"

    @override
    def before_block(self, layer: int, tokens: Tokens) -> Tokens:
        locations = self.schedule.locations
        if not locations or layer != locations[len(locations) // 2]:
            return tokens
        assert tokens.grid is not None
        *frames, height, width = tokens.grid
        down, across = (height + 1) // 2, (width + 1) // 2  # pooled rows and columns
        rows, columns, times = (
            torch.arange(length, device=tokens.x.device)
            for length in (height, width, math.prod(frames))
        )
        places = (times[:, None, None] * down + rows[:, None] // 2) * across + columns // 2
        group = places.flatten().expand(len(tokens.x), -1)
        return replace(tokens.merge(group, len(times) * down * across), size=None)
