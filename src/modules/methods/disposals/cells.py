"""Average what was not selected within cells of the image (squeezed tokens, arXiv:2511.21477)."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from ....errors import InputError
from ...layers.tokens import Tokens
from .absorb import grouped
from .base import Disposal, Ranking


class Cells(Disposal):
    """Averages the unselected tokens within each of `side x side` cells of the image.

    A clip is cut into `side x side x side` cells, in time too. Means are weighted by size, and
    sizes add up. At later locations a mean competes like any other token; if it is not selected,
    it is averaged into the new mean of its cell. A cell without unselected tokens gets a token of
    size 0, which no other token attends to and which is never selected. With `side=1` all
    unselected tokens become one mean.
    """

    merges = True

    def __init__(self, side: int = 2) -> None:
        """Cut the image into `side x side` cells.

        Raises:
            InputError: If `side` is not a positive whole number.
        """
        if not isinstance(side, int) or side < 1:
            raise InputError(f"Cells has side={side!r}: give a whole number from 1 on.")
        self.side = side

    @override
    def __call__(self, tokens: Tokens, ranking: Ranking) -> Tokens:
        kept, dropped = ranking.split()
        cell = self._cells(tokens)
        joined = ranking.count + cell.gather(1, dropped)
        count = ranking.count + self.side ** len(tokens.known_grid("Cells"))
        return tokens.merge(grouped(kept, dropped, joined), count)

    def _cells(self, tokens: Tokens) -> Int[Tensor, "B N"]:
        """Return the cell of each patch token, `(B, N)`; the patches of a mean share a cell."""
        cell = torch.zeros((), dtype=torch.long, device=tokens.x.device)
        for length in tokens.known_grid("Cells"):
            part = torch.arange(length, device=tokens.x.device) * self.side // length
            cell = cell[..., None] * self.side + part
        of_patches = cell.flatten().expand(tokens.x.shape[0], -1)
        if tokens.source is None:
            return of_patches
        none = of_patches.new_zeros(tokens.patches.shape[:2])
        return none.scatter(1, tokens.source, of_patches)
