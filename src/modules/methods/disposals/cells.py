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
    """Averages the others within each of `side x side` cells that the image is cut into.

    A clip is cut into `side x side x side`, in time too.
    Means are weighted by size, and sizes add up. At later locations a mean competes like any other
    token; if it is left out, the new mean of its cell takes it in. A cell that nothing fell into
    has a token of size 0, which nobody sees and which is never selected. With `side=1` all become
    one mean.
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
        """Return the cell of each patch token, `(B, N)`; merged ones lie in one cell."""
        cell = torch.zeros((), dtype=torch.long, device=tokens.x.device)
        for length in tokens.known_grid("Cells"):
            part = torch.arange(length, device=tokens.x.device) * self.side // length
            cell = cell[..., None] * self.side + part
        of_patches = cell.flatten().expand(tokens.x.shape[0], -1)
        if tokens.source is None:
            return of_patches
        none = of_patches.new_zeros(tokens.patches.shape[:2])
        return none.scatter(1, tokens.source, of_patches)
