"""Score patches by a learned query that an auxiliary loss trains (Cropr: Bergner et al., 2024)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from ...layers.tokens import Tokens
from ...schedules import KeepSchedule
from ..base import Geometry
from .base import Seen, Selector


class LearnedQuery(Selector):
    r"""Scores a patch by `q . norm(x)`, with one learned vector `q` for each location.

    Scores never pass a gradient to the network: `x` is detached. They learn from an auxiliary loss
    on `summary`, the softmax-weighted mean of the normed patches, so that patches which help an
    auxiliary classifier get high scores. Training therefore runs what inference runs: the same hard
    top-k, with tokens really removed. The classifier belongs to the loss
    (`src.modules.auxiliary`), and no saved student carries it.

    Source: Bergner, Lippert, Mahendran, "Token Cropr" (CVPR 2025, arXiv:2412.00965), with one query
    and one head and without projections. Queries start at random; `start_queries` starts them from
    the class token's attention.
    """

    one_head_per_location = True
    learns_by_summaries = True

    def __init__(self, schedule: KeepSchedule, geometry: Geometry) -> None:
        """Make a query for each location of `schedule`."""
        super().__init__(schedule, geometry)
        scale = geometry.dim**-0.5
        self.queries = nn.Parameter(scale * torch.randn(len(schedule.locations), geometry.dim))

    @override
    def score(self, tokens: Tokens, number: int, seen: Seen) -> Float[Tensor, "B N"]:
        return normed_patches(tokens) @ self.queries[number]

    @override
    def summary(self, tokens: Tokens, score: Float[Tensor, "B N"]) -> Float[Tensor, "B C"]:
        logits = score.float()
        if tokens.patch_size is not None:  # a merged token counts as often as it stands for patches
            logits = logits + tokens.patch_size.float().log()
        weight = logits.softmax(dim=1).to(score.dtype)
        return (weight.unsqueeze(1) @ normed_patches(tokens)).squeeze(1)


def normed_patches(tokens: Tokens) -> Float[Tensor, "B N C"]:
    """Return the patch tokens after a layer norm without parameters, cut from the gradient."""
    patches = tokens.patches.detach()
    return F.layer_norm(patches, patches.shape[-1:])
