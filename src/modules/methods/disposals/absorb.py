"""Average each token that was not selected into the most similar selected one."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from ...layers import products
from ...layers.tokens import Tokens, take_rows
from .base import ByProducts, Disposal, Ranking


class Absorb(Disposal):
    """Averages each unselected token into the selected one most similar to it; sizes add up.

    The average is weighted by size, and attention then weighs a token by its size (ToMe's
    proportional attention: Bolya et al. 2023, Eq. 1). Similarity is the cosine of the tokens; no
    attention map is needed.
    """

    merges = True

    @override
    def __call__(self, tokens: Tokens, ranking: Ranking) -> Tokens:
        return tokens.merge(nearest_kept(tokens.patches.detach(), ranking), ranking.count)

    @override
    def by_products(self) -> Disposal:
        return AbsorbByProducts()


class AbsorbByProducts(ByProducts):
    """Computes `Absorb` by products with small matrices, without look-ups."""

    merges = True

    @override
    def __call__(self, tokens: Tokens, ranking: Ranking) -> Tokens:
        return products.absorb(tokens, ranking.score, ranking.count)


def nearest_kept(metric: Float[Tensor, "B N C"], ranking: Ranking) -> Int[Tensor, "B N"]:
    """Return the rank of the kept token that each token joins, `(B, N)`; kept ones join themselves.

    Args:
        metric: `(B, N, C)`, compared by cosine.
        ranking: Ranking of the same tokens.
    """
    normed = F.normalize(metric.float(), dim=-1)
    kept, dropped = ranking.split()
    alike = take_rows(normed, dropped) @ take_rows(normed, kept).transpose(1, 2)  # (B, N-K, K)
    return grouped(kept, dropped, alike.argmax(dim=-1))


def grouped(
    kept: Int[Tensor, "B K"], dropped: Int[Tensor, "B rest"], joined: Int[Tensor, "B rest"]
) -> Int[Tensor, "B K+rest"]:
    """Return the new index of each token, `(B, N)`: kept tokens by rank, others by `joined`.

    Args:
        kept: `(B, K)`, indices of the kept tokens.
        dropped: `(B, N-K)`, indices of the others.
        joined: `(B, N-K)`, the new index of each of the others.
    """
    own = torch.arange(kept.shape[1], device=kept.device).expand_as(kept)
    order, group = torch.cat([kept, dropped], dim=1), torch.cat([own, joined], dim=1)
    return torch.empty_like(group).scatter(1, order, group)
