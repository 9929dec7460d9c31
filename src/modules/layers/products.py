"""Select, fuse and merge tokens by products with small matrices, for runtimes without look-ups.

A token's rank is the number of scores above its own, found by comparisons and a sum; a matrix of 0
and 1, made from ranks by further comparisons, does what sorting and look-ups do elsewhere.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from ...errors import InputError
from .tokens import Tokens

_SMALLEST_WEIGHT = 1e-30  # so that tokens of weight 0 have an average too


def rank(score: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """Count the scores above each one, `(B, N)`; of equal ones the first has the lower rank."""
    own, other = score.unsqueeze(2), score.unsqueeze(1)
    earlier = torch.ones(score.shape[1], score.shape[1]).tril(-1).bool()
    above = (other > own) | ((other == own) & earlier)
    return above.float().sum(dim=2)


def group_matrix(group: Float[Tensor, "B N"], count: int) -> Float[Tensor, "B {count} N"]:
    """Return 1 where token n goes to place k, `(B, count, N)`, for the places `group (B, N)`."""
    places = torch.arange(count, dtype=torch.float32)
    return (group.unsqueeze(1) == places[:, None]).float()


def exchange(kept: Bool[Tensor, "B N"], count: int) -> Float[Tensor, "B {count} N-{count}"]:
    """Return which tokens change places so that the kept ones come first, `(B, K, N-K)`.

    Token k of the first K and token K+n change places where it is 1: the first of those that do not
    go on with the first kept one behind them, and so on. Products with it are as much smaller than
    those with a matrix `(K, N)` as fewer tokens leave.

    Args:
        kept: `(B, N)`, which tokens go on.
        count: K, how many they are.
    """
    leaving, coming = ~kept[:, :count], kept[:, count:]
    pairs = leaving.unsqueeze(2) & coming.unsqueeze(1)
    return (pairs & (_before(leaving).unsqueeze(2) == _before(coming).unsqueeze(1))).float()


def front(matrix: Float[Tensor, "B K M"], x: Float[Tensor, "B N C"]) -> Float[Tensor, "B K C"]:
    """Return the first K of `x (B, N, C)` after the exchange `matrix (B, K, N-K)`: the kept."""
    count = matrix.shape[1]
    taken = matrix.sum(dim=2).unsqueeze(2) > 0
    return torch.where(taken, matrix @ x[:, count:], x[:, :count])


def back(matrix: Float[Tensor, "B K M"], x: Float[Tensor, "B N C"]) -> Float[Tensor, "B M C"]:
    """Return the others of `x (B, N, C)` after the exchange `matrix (B, K, N-K)`."""
    count = matrix.shape[1]
    gone = matrix.sum(dim=1).unsqueeze(2) > 0
    return torch.where(gone, matrix.transpose(1, 2) @ x[:, :count], x[:, count:])


def order(score: Float[Tensor, "B N"], count: int) -> Int[Tensor, "B {count}"]:
    """Return the indices `(B, K)` of the tokens of the highest `score`, as `select` puts them."""
    index = torch.arange(score.shape[1], dtype=torch.float32).expand_as(score).unsqueeze(2)
    return front(exchange(rank(score) < count, count), index).squeeze(2).long()


def select(tokens: Tokens, score: Float[Tensor, "B N"], count: int) -> Tokens:
    """Keep the patch tokens of the highest scores, in the order of `exchange`.

    Args:
        tokens: With N patch tokens.
        score: `(B, N)`, higher is better.
        count: How many are kept.

    Raises:
        InputError: If the tokens carry `data`.
    """
    return _selected(tokens, exchange(rank(score) < count, count))


def fuse(
    tokens: Tokens, score: Float[Tensor, "B N"], count: int, weight: Float[Tensor, "B N"]
) -> Tokens:
    """Keep the `count` best patch tokens and put the sum of the others, by `weight`, behind them.

    Args:
        tokens: With N patch tokens.
        score: `(B, N)`, higher is better.
        count: How many are kept.
        weight: `(B, N)`, weights of the sum.

    Raises:
        InputError: If the tokens carry `data`.
    """
    going = rank(score) < count
    rest = (~going).float()
    kept = _selected(tokens, exchange(going, count))
    x = torch.cat([kept.x, (weight * rest).unsqueeze(1) @ tokens.patches], dim=1)
    size = kept.size
    if size is not None:
        assert tokens.patch_size is not None
        size = torch.cat([size, (tokens.patch_size * rest).sum(1, keepdim=True)], dim=1)
    return replace(kept, x=x, size=size)


def absorb(tokens: Tokens, score: Float[Tensor, "B N"], count: int) -> Tokens:
    """Keep the `count` best patch tokens, each averaged with the others that are nearest to it.

    The average is weighted by size, and sizes add up; the nearest has the largest cosine.

    Args:
        tokens: With N patch tokens.
        score: `(B, N)`, higher is better.
        count: How many are kept.

    Raises:
        InputError: If the tokens carry `data`.
    """
    _refuse_data(tokens)
    matrix = exchange(rank(score) < count, count)
    size = tokens.size
    if size is None:
        size = torch.ones_like(tokens.x[..., 0])
    sizes = size[:, tokens.prefix :].unsqueeze(2)
    kept, rest = front(matrix, tokens.patches), back(matrix, tokens.patches)
    own, others = front(matrix, sizes), back(matrix, sizes)
    alike = F.normalize(rest, dim=-1) @ F.normalize(kept, dim=-1).transpose(1, 2)  # (B, N-K, K)
    places = torch.arange(count, dtype=torch.float32).expand(alike.shape[0], -1)
    joined = nearest(alike, places, torch.ones_like(places).bool())
    joins = group_matrix(joined, count)  # (B, K, N-K)
    weight, added = (each.clamp(min=_SMALLEST_WEIGHT) for each in (own, others))
    total = weight + joins @ added
    x = kept * (weight / total) + (joins * added.transpose(1, 2) / total) @ rest
    merged = (own + joins @ others).squeeze(2)
    return replace(
        tokens,
        x=torch.cat([tokens.x[:, : tokens.prefix], x], dim=1),
        size=torch.cat([size[:, : tokens.prefix], merged], dim=1),
        source=_followed(tokens, _places(matrix, torch.cat([places, joined], dim=1))),
    )


def merge(tokens: Tokens, group: Float[Tensor, "B N"], count: int) -> Tokens:
    """Average the patch tokens that go to the same place, weighted by size; sizes add up.

    Args:
        tokens: With N patch tokens.
        group: `(B, N)`, the place of each from 0 to count - 1; no place stays empty.
        count: The new number of patch tokens.

    Raises:
        InputError: If the tokens carry `data`.
    """
    _refuse_data(tokens)
    size = tokens.size
    if size is None:
        size = torch.ones_like(tokens.x[..., 0])
    matrix = group_matrix(group, count)
    weighted = matrix * size[:, tokens.prefix :].clamp(min=_SMALLEST_WEIGHT).unsqueeze(1)
    shares = weighted / weighted.sum(dim=2, keepdim=True)
    return replace(
        tokens,
        x=torch.cat([tokens.x[:, : tokens.prefix], shares @ tokens.patches], dim=1),
        size=_placed(size, tokens.prefix, matrix),
        source=_followed(tokens, group),
    )


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
    every = torch.arange(targets, dtype=torch.float32).expand(affinity.shape[0], -1)
    target = nearest(affinity, every, torch.ones_like(every).bool())
    return torch.where(moving, sources - moves + target, _before(~moving))


def _before(mask: Bool[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """Count those that are true before each one, `(B, N)`."""
    return mask.float() @ torch.ones(mask.shape[1], mask.shape[1]).triu(1)


def _selected(tokens: Tokens, matrix: Float[Tensor, "B K M"]) -> Tokens:
    _refuse_data(tokens)
    size = tokens.size
    if size is not None:
        kept = front(matrix, size[:, tokens.prefix :].unsqueeze(2)).squeeze(2)
        size = torch.cat([size[:, : tokens.prefix], kept], dim=1)
    places = torch.arange(matrix.shape[1], dtype=torch.float32).expand(matrix.shape[0], -1)
    places = torch.cat([places, -torch.ones_like(matrix[:, 0])], dim=1)
    return replace(
        tokens,
        x=torch.cat([tokens.x[:, : tokens.prefix], front(matrix, tokens.patches)], dim=1),
        size=size,
        source=_followed(tokens, _places(matrix, places)),
    )


def _places(matrix: Float[Tensor, "B K M"], after: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """Return `after (B, N)` at the place that each token has changed to, `(B, N)`."""
    after = after.unsqueeze(2)
    return torch.cat([front(matrix, after), back(matrix, after)], dim=1).squeeze(2)


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
    """Return the new `Tokens.source`, in 32 bits, when tokens have gone to `place (B, N)`."""
    if tokens.source is None:
        return place.int()
    stands = group_matrix(tokens.source.float(), place.shape[1])  # (B, N, patches)
    followed = (place.unsqueeze(1) @ stands).squeeze(1).int()
    return torch.where(tokens.source >= 0, followed, -1)
