"""Matches each token of one half to the most similar token of the other half."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def alternate(
    count: int, prefix: int, device: torch.device
) -> tuple[Int[Tensor, " A"], Int[Tensor, " M"]]:
    """Return every other patch token, as those that may leave, and the rest, that may receive.

    Prefix tokens are counted too, as in ToMe, whose class token is the first that may leave (and
    never does).

    Args:
        count: N, the number of patch tokens.
        prefix: P, the number of tokens before them.
        device: Device of the result.

    Returns:
        Indices among the patch tokens, `(A,)` and `(M,)`, ascending.
    """
    first = prefix % 2
    return (
        torch.arange(first, count, 2, device=device),
        torch.arange(1 - first, count, 2, device=device),
    )


def bipartite(
    affinity: Float[Tensor, "B A M"], moves: int
) -> tuple[Int[Tensor, "B stay"], Int[Tensor, "B move"], Int[Tensor, "B move"]]:
    """Move the `moves` sources that are nearest to any target, each to its nearest.

    Bipartite soft matching (Bolya et al. 2023, section 3).

    Args:
        affinity: `(B, A, M)` between sources and targets.
        moves: At most A.

    Returns:
        Sources that stay `(B, A-moves)` in ascending order, that move `(B, moves)`, and the targets
        they move to `(B, moves)`.
    """
    best, target = affinity.max(dim=-1)  # (B, A)
    order = best.argsort(dim=-1, descending=True)
    moving = order[:, :moves]
    return order[:, moves:].sort(dim=-1).values, moving, target.gather(1, moving)


def groups(
    staying: Int[Tensor, "B stay"],
    moving: Int[Tensor, "B move"],
    target: Int[Tensor, "B move"],
    targets: int,
) -> Int[Tensor, "B stay+move+{targets}"]:
    """Return the new index of each token when sources that stay come first and targets after them.

    Args:
        staying: `(B, A-m)`, sources.
        moving: `(B, m)`, sources.
        target: `(B, m)`, where they go.
        targets: M.

    Returns:
        `(B, A+M)`, sources first.
    """
    batch, kept = staying.shape
    index = torch.arange(kept + targets, device=staying.device).expand(batch, -1)
    sources = torch.empty(batch, kept + moving.shape[1], dtype=torch.long, device=staying.device)
    sources = sources.scatter(1, staying, index[:, :kept]).scatter(1, moving, kept + target)
    return torch.cat([sources, index[:, kept:]], dim=1)
