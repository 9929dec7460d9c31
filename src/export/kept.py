"""Records which patches each location selects, also where the others are fused or merged."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from ..modules.backbones.base import SparseBackbone, SparseOutput
from ..modules.layers.tokens import Tokens
from ..modules.methods.base import Method, TokenReduction
from ..modules.methods.disposals.base import Disposal, Ranking
from ..modules.methods.selection import Selection


class Noting(Disposal):
    """Does the same as another disposal, and records which tokens were selected."""

    def __init__(self, disposal: Disposal) -> None:
        """Wrap `disposal`."""
        self._disposal = disposal
        self._noted: list[tuple[Tensor, int]] = []  # selected tokens (B, K), and of how many

    @override
    def __call__(self, tokens: Tokens, ranking: Ranking) -> Tokens:
        self._noted.append((self._disposal.order(ranking), tokens.patches.shape[1]))
        return self._disposal(tokens, ranking)

    def masks(self) -> Tensor:
        """Return the selected patches since the last call, `(B, S, patches)`, 1 = selected.

        A selected token into which others were averaged counts as its original patch; a token that
        was made of several unselected ones counts as none.
        """
        noted, self._noted = self._noted, []
        patches = noted[0][1]
        leader = torch.arange(patches).expand(
            noted[0][0].shape[0], -1
        )  # the patch that each token was
        masks = []
        for kept, count in noted:
            made = leader.new_full((kept.shape[0], max(0, count - leader.shape[1])), patches)
            leader = torch.cat([leader, made], dim=1).gather(1, kept)
            none = torch.zeros(kept.shape[0], patches + 1)
            masks.append(none.scatter(1, leader, 1.0)[:, :patches])
        return torch.stack(masks, dim=1)


class KeptSets:
    """Returns what a student's forward pass kept at each location."""

    def __init__(self, student: SparseBackbone) -> None:
        """Record the selections of `student`, whose method is changed for it."""
        self._noting: Noting | None = None
        if isinstance(student.method, Selection):
            self._noting = student.method.disposal = Noting(student.method.disposal)

    def of(self, output: SparseOutput) -> Tensor:
        """Return the patches kept in the pass that gave `output`, `(B, S, patches)`."""
        if self._noting is not None:
            return self._noting.masks()
        return torch.stack(output.decisions, dim=1)


def selects(method: Method) -> bool:
    """Return whether a method has kept sets: it selects tokens, or drops or routes them."""
    if not any(ratio < 1 for ratio in method.schedule.ratios):
        return False
    merges = isinstance(method, TokenReduction) and method.merges
    return isinstance(method, Selection) or not merges
