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
        *times, rows, columns = tokens.known_grid(self.name)
        halved = [(length + 1) // 2 for length in (rows, columns)]
        row, column = (torch.arange(n, device=tokens.x.device) // 2 for n in (rows, columns))
        group = row[:, None] * halved[1] + column
        frames, area = math.prod(times), math.prod(halved)
        starts = area * torch.arange(frames, device=tokens.x.device)
        group = (starts[:, None, None] + group).flatten().expand(tokens.x.shape[0], -1)
        return replace(tokens.merge(group, frames * area), size=None)
