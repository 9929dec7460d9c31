"""Select, fuse and merge tokens by products with small matrices, for runtimes without look-ups.

A token's rank is the number of scores above its own, found by comparisons and a sum; a matrix of 0
and 1, made from ranks by further comparisons, does what sorting and look-ups do elsewhere.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...errors import InputError
from .tokens import Tokens


def rank(score: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """Count the scores above each one, `(B, N)`; of equal ones the first has the lower rank."""
    own, other = score.unsqueeze(2), score.unsqueeze(1)
    earlier = torch.ones(score.shape[1], score.shape[1]).tril(-1).bool()
    above = (other > own) | ((other == own) & earlier)
    return above.float().sum(dim=2)


def group_matrix(group: Float[Tensor, "B N"], count: int) -> Float[Tensor, "B {count} N"]:
    """Return 1 where token n goes to place k, `(B, count, N)`, from the places `group (B, N)`."""
    places = torch.arange(count, dtype=torch.float32)
    return (group.unsqueeze(1) == places[:, None]).float()


def select(tokens: Tokens, score: Float[Tensor, "B N"], count: int) -> Tokens:
    """Keep the `count` patch tokens of the highest `score (B, N)`, best first.

    Raises:
        InputError: If the tokens carry `data`.
    """
    _refuse_data(tokens)
    place = rank(score)
    matrix = group_matrix(place, count)
    size, place = tokens.size, torch.where(place < count, place, -1.0)
    return replace(
        tokens,
        x=torch.cat([tokens.x[:, : tokens.prefix], matrix @ tokens.patches], dim=1),
        size=None if size is None else _placed(size, tokens.prefix, matrix),
        source=_followed(tokens, place),
    )


def fuse(
    tokens: Tokens, score: Float[Tensor, "B N"], count: int, weight: Float[Tensor, "B N"]
) -> Tokens:
    """Keep the `count` best patch tokens and sum the others, by `weight (B, N)`, behind them."""
    rest = (rank(score) >= count).float()
    kept = select(tokens, score, count)
    x = torch.cat([kept.x, (weight * rest).unsqueeze(1) @ tokens.patches], dim=1)
    size = kept.size
    if size is not None:
        assert tokens.patch_size is not None
        size = torch.cat([size, (tokens.patch_size * rest).sum(1, keepdim=True)], dim=1)
    return replace(kept, x=x, size=size)


def merge(tokens: Tokens, group: Float[Tensor, "B N"], count: int) -> Tokens:
    """Average the patch tokens that go to the same place, weighted by size; sizes add up.

    Raises:
        InputError: If the tokens carry `data`.
    """
    _refuse_data(tokens)
    size = tokens.size
    if size is None:
        size = torch.ones_like(tokens.x[..., 0])
    matrix = group_matrix(group, count)
    weighted = matrix * size[:, tokens.prefix :].clamp(min=1e-30).unsqueeze(1)
    shares = weighted / weighted.sum(dim=2, keepdim=True)
    return replace(
        tokens,
        x=torch.cat([tokens.x[:, : tokens.prefix], shares @ tokens.patches], dim=1),
        size=_placed(size, tokens.prefix, matrix),
        source=_followed(tokens, group),
    )


def nearest_kept(
    normed: Float[Tensor, "B N C"], place: Float[Tensor, "B N"], count: int
) -> Float[Tensor, "B N"]:
    """Return the place that each token joins, `(B, N)`: that of the most similar kept token.

    The tokens that do not go on are moved together first: two small products instead of one of all
    pairs, which is the larger as soon as half of the tokens go on.

    Args:
        normed: `(B, N, C)` of length 1.
        place: Ranks.
        count: How many go on; these join themselves.
    """
    rest = group_matrix(place - count, place.shape[1] - count)  # (B, N-K, N)
    joined = nearest(rest @ normed @ normed.transpose(1, 2), place, place < count)
    return torch.where(place < count, place, (joined.unsqueeze(1) @ rest).squeeze(1))


def nearest(
    alike: Float[Tensor, "B M N"], place: Float[Tensor, "B N"], allowed: Bool[Tensor, "B N"]
) -> Float[Tensor, "B M"]:
    """Return the place of the most similar allowed token, `(B, M)`; of equals the lowest.

    Args:
        alike: `(B, M, N)`, cosines.
        place: `(B, N)`, less than N.
        allowed: `(B, N)`.
    """
    alike = torch.where(allowed.unsqueeze(1), alike, -2.0)
    best = alike == alike.amax(dim=2, keepdim=True)
    return torch.where(best, place.unsqueeze(1), float(place.shape[1])).amin(dim=2)


def bipartite(affinity: Float[Tensor, "B A M"], moves: int) -> Float[Tensor, "B A"]:
    """Return the group that each source joins, as `matching.bipartite` and `matching.groups` do.

    Args:
        affinity: `(B, A, M)` between sources and targets, at least -1.
        moves: How many sources move to a target; at most A.

    Returns:
        `(B, A)`: those that stay have 0 to A-moves-1 in their order, target m is A-moves+m.
    """
    sources, targets = affinity.shape[1:]
    moving = rank(affinity.amax(dim=2)) < moves
    every = torch.arange(targets, dtype=torch.float32).expand(len(affinity), -1)
    target = nearest(affinity, every, torch.ones_like(every).bool())
    earlier = torch.ones(sources, sources).triu(1)  # column j counts the rows before it
    return torch.where(moving, sources - moves + target, (~moving).float() @ earlier)


def _refuse_data(tokens: Tokens) -> None:
    if tokens.data:
        raise InputError(
            f"select=matmul: tokens with {' and '.join(tokens.data)} are selected by look-ups: "
            "write select=topk."
        )


def _placed(
    size: Float[Tensor, "B T"], prefix: int, matrix: Float[Tensor, "B K N"]
) -> Float[Tensor, "B T2"]:
    placed = (matrix @ size[:, prefix:].unsqueeze(2)).squeeze(2)
    return torch.cat([size[:, :prefix], placed], dim=1)


def _followed(tokens: Tokens, place: Float[Tensor, "B N"]) -> Tensor:
    """Return `Tokens.source` in 32 bits."""
    if tokens.source is None:
        return place.int()
    stands = group_matrix(tokens.source.float(), place.shape[1])  # (B, N, patches)
    followed = (place.unsqueeze(1) @ stands).squeeze(1).int()
    return torch.where(tokens.source >= 0, followed, -1)
