"""MCTF: fuse by several criteria (Lee, Choi, Kim, CVPR 2024, arXiv:2403.10030)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from ..layers.attention import Attended
from ..layers.matching import alternate, bipartite, groups
from ..layers.tokens import Tokens
from .base import TokenReduction

# Temperatures of similarity, informativeness and size: exponents are their inverses.
SIMILARITY, INFORMATION, SIZE = 1.0, 20.0, 40.0


class MCTF(TokenReduction):
    """Fuses tokens that are similar, uninformative and small after each location's attention.

    The attraction of two tokens is the product of the three criteria, each tempered (Eq. 3-6).
    Half of the moves go in each direction of the matching, and a token's weight in an average is
    the attention that it received times its size. Departures: informativeness is read from the
    attention that has just been computed, not from one computed ahead for the next step, and
    attention is proportional to size.
    """

    merges = True

    @override
    def reduce(self, tokens: Tokens, attended: Attended, count: int) -> Tokens:
        # How much attention each token received, (B, N).
        received = attended.weights().mean(dim=(1, 2))[:, tokens.prefix :]
        while tokens.patches.shape[1] > count:
            fewer = min(tokens.patches.shape[1] - count, tokens.patches.shape[1] // 2)
            tokens, received = fuse(tokens, received, fewer)
        return tokens


def fuse(
    tokens: Tokens, received: Float[Tensor, "B N"], fewer: int
) -> tuple[Tokens, Float[Tensor, "B fused"]]:
    """Fuse patch tokens, and add up the attention that those of a group received.

    Args:
        tokens: With N patch tokens.
        received: `(B, N)`, attention received.
        fewer: By how many tokens their number shrinks; at most half of them.

    Returns:
        The fused tokens, and the attention received by each, `(B, N - fewer)`.
    """
    count = tokens.patches.shape[1]
    size = tokens.patch_size
    size = torch.ones_like(received) if size is None else size
    leaving, receiving = alternate(count, tokens.prefix, tokens.x.device)
    weights = attraction(tokens.patches, received, size, leaving, receiving)

    there = min(fewer // 2, len(leaving))
    staying, moving, target = bipartite(weights, there)
    first = groups(staying, moving, target, len(receiving))  # (B, N), `leaving` first
    # In the other direction some of the receiving half move to those that stayed.
    back = weights.gather(1, staying.unsqueeze(-1).expand(-1, -1, len(receiving))).transpose(1, 2)
    second = groups(*bipartite(back, fewer - there), len(leaving) - there)
    stayed = len(leaving) - there  # `first` puts those that stayed before the receiving half
    # `second` has the receiving half first and those that stayed after it.
    second = torch.cat([second[:, len(receiving) :], second[:, : len(receiving)]], dim=1)
    assert second.shape[1] == stayed + len(receiving)
    group = second.gather(1, first)
    place = torch.cat([leaving, receiving]).argsort()
    group = group[:, place]
    merged = tokens.merge(group, count - fewer, weight=received * size)
    added = received.new_zeros(received.shape[0], count - fewer).scatter_add(1, group, received)
    return merged, added


@torch.no_grad()
def attraction(
    x: Float[Tensor, "B N C"],
    received: Float[Tensor, "B N"],
    size: Float[Tensor, "B N"],
    leaving: Int[Tensor, " A"],
    receiving: Int[Tensor, " M"],
) -> Float[Tensor, "B A M"]:
    """Return the attraction `(B, A, M)` of each leaving to each receiving token (Eq. 3-6).

    Args:
        x: `(B, N, C)`, compared by cosine.
        received: `(B, N)`, attention received; tokens with little of it attract more.
        size: `(B, N)`; small tokens attract more.
        leaving: `(A,)`, indices of tokens that may leave.
        receiving: `(M,)`, indices of tokens that may receive them.
    """
    normed = F.normalize(x.float(), dim=-1)
    similarity = (normed[:, leaving] @ normed[:, receiving].transpose(1, 2) + 1) / 2
    total = similarity.clamp(min=0) ** (1 / SIMILARITY)
    for criterion, temperature in ((received, INFORMATION), (size, SIZE)):
        inverse = 1 / criterion.float().clamp(min=1e-12)
        inverse = inverse / inverse.amax(dim=1, keepdim=True)
        pairs = inverse[:, leaving].unsqueeze(2) * inverse[:, receiving].unsqueeze(1)
        total = total * pairs ** (1 / temperature)
    return total
