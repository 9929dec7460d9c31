"""Selects the windows of a map that a block computes, and skips the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from .paths import Path, TwoPaths
from .tokens import take_rows

PADDING = -1  # a place of a window beyond the map's edge


def partition(
    map_size: Sequence[int],
    window_size: Sequence[int],
    shift: Sequence[int],
    device: torch.device,
) -> Int[Tensor, "W M"]:
    """Return the positions of each window, `(W, M)`, of a map that is first rolled, then padded.

    Args:
        map_size: Height and width, and for clips the length in time before them; positions are
            numbered row by row.
        window_size: The same of a window; the product is M.
        shift: By how many positions the map is rolled back along each dimension.
        device: Device of the result.

    Returns:
        Indices of positions, `PADDING` beyond the edges.
    """
    dims = tuple(range(len(map_size)))
    places = torch.arange(math.prod(map_size), device=device).view(*map_size)
    places = padded(places.roll([-by for by in shift], dims), window_size)
    for dim, length in enumerate(window_size):
        places = places.unflatten(2 * dim, (-1, length))  # (H/h, h, W/w, w)
    windows = places.permute(*(2 * dim for dim in dims), *(2 * dim + 1 for dim in dims))
    return windows.flatten(len(dims)).flatten(0, -2)


def padded(places: Int[Tensor, "*sides"], window_size: Sequence[int]) -> Int[Tensor, "*padded"]:
    """Pad a map of `places` with `PADDING` at each dimension's end to a multiple of the window."""
    sizes = zip(reversed(places.shape), reversed(window_size), strict=True)  # the last comes first
    return F.pad(places, [n for size, own in sizes for n in (0, -size % own)], value=PADDING)


@dataclass(frozen=True)
class WindowScores:
    """Holds a decision that each block carries out on the windows of its own partition.

    Attributes:
        score: `(B, N)` of the positions; a window scores their mean.
        ratio: Share of the windows that are computed.
        summary: `(B, C)`, what the selector learns from in training, if it needs an auxiliary loss.
    """

    score: Float[Tensor, "B N"]
    ratio: float
    summary: Float[Tensor, "B C"] | None = None

    def among(self, windows: Int[Tensor, "W M"]) -> KeptWindows:
        """Rank `windows (W, M)` and keep the best, `ratio` of them to the nearest number.

        At least one is kept, and the number is the same for each image.
        """
        inside = (windows != PADDING).to(self.score.dtype)  # (W, M)
        score = self.score[:, windows.clamp(min=0)]  # (B, W, M)
        mean = (score * inside).sum(dim=2) / inside.sum(dim=1)
        order = mean.argsort(dim=1, descending=True)
        count = max(1, int(self.ratio * windows.shape[0] + 0.5))
        return KeptWindows(windows, order, count, self.score.shape[1], self.summary)


@dataclass(frozen=True)
class KeptWindows(TwoPaths):
    """Computes a block on some of its windows; all positions of the others take the fast path.

    Attributes:
        windows: `(W, M)`, see `partition`.
        order: `(B, W)`, windows, those that are computed first.
        count: K, how many are computed.
        positions: N.
        summary: See `WindowScores`.
    """

    windows: Int[Tensor, "W M"]
    order: Int[Tensor, "B W"]
    count: int
    positions: int
    summary: Float[Tensor, "B C"] | None = None

    @property
    def all(self) -> bool:
        """Return whether every window is computed, so that the block is the dense one."""
        return self.count >= self.order.shape[1]

    @property
    def kept(self) -> Int[Tensor, "B K"]:
        """Return the windows that are computed, `(B, K)`."""
        return self.order[:, : self.count]

    @property
    @override
    def decision(self) -> Float[Tensor, "B N"]:
        own = self._place() // self.windows.shape[1]  # (N,)
        return (self._rank()[:, own] < self.count).float()

    @property
    def inside(self) -> Bool[Tensor, "B K M"]:
        """Return which places of the computed windows are on the map, `(B, K, M)`."""
        return (self.windows != PADDING)[self.kept]

    def run(self, x: Float[Tensor, "B N C"], slow: Path, fast: Path) -> Float[Tensor, "B N C"]:
        """Look up the windows of each path, compute both paths, look up each position's result.

        Args:
            x: `(B, N, C)`.
            slow: Takes the computed windows, `(B, K*M, C)`, one window after another; rows of
                padding are arbitrary, and their results are not used.
            fast: Takes the other windows likewise, `(B, (W-K)*M, C)`.
        """
        places = self.windows.clamp(min=0)[self.order].flatten(1)  # (B, W*M)
        area = self.windows.shape[1]
        own, others = places.tensor_split([self.count * area], dim=1)
        done = slow(take_rows(x, own))
        if not self.all:
            done = torch.cat([done, fast(take_rows(x, others)).to(done.dtype)], dim=1)
        place = self._place()  # (N,)
        return take_rows(done, self._rank()[:, place // area] * area + place % area)

    def _place(self) -> Int[Tensor, " N"]:
        """Return where in all windows, one after another, each position is."""
        flat = self.windows.flatten()
        places = torch.arange(len(flat), device=flat.device)
        return flat.new_zeros(self.positions + 1).scatter(0, flat + 1, places)[1:]

    def _rank(self) -> Int[Tensor, "B W"]:
        """Return where in `order` each window is."""
        ranks = torch.arange(self.order.shape[1], device=self.order.device)
        return torch.empty_like(self.order).scatter(1, self.order, ranks.expand_as(self.order))
