"""Average each token that was not selected into the most similar selected one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from ...layers.attention import Attended
from ...layers.tokens import Tokens, take_rows
from .base import Disposal, Ranking


class Absorb(Disposal):
    """Each selected token absorbs the others that are most similar to it; sizes add up.

    The average is weighted by size, and attention then weighs a token by its size (ToMe's
    proportional attention), so that nothing of the image is lost to it. Similarity is the cosine of
    the heads' mean keys where attention was read, else of the tokens themselves. No attention map
    is needed.
    """

    merges = True

    @override
    def __call__(self, tokens: Tokens, ranking: Ranking, attended: Attended | None) -> Tokens:
        metric = tokens.x if attended is None else attended.key.mean(dim=1)  # (B, P+N, D)
        group = nearest_kept(metric[:, tokens.prefix :].detach(), ranking)
        return tokens.merge(group, ranking.count)


def nearest_kept(metric: Tensor, ranking: Ranking) -> Tensor:
    """Return the rank of the kept token that each token joins, `(B, N)`; kept ones join themselves.

    Args:
        metric: `(B, N, D)`, compared by cosine.
        ranking: Of the same tokens.
    """
    normed = F.normalize(metric.float(), dim=-1)
    kept, dropped = take_rows(normed, ranking.kept), take_rows(normed, ranking.dropped)
    joined = (dropped @ kept.transpose(1, 2)).argmax(dim=-1)  # (B, N-K)
    own = torch.arange(ranking.count, device=joined.device).expand(len(joined), -1)
    ranks = torch.cat([own, joined], dim=1)
    return torch.empty_like(ranks).scatter(1, ranking.order, ranks)
