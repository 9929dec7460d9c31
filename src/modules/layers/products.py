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
    normed: Float[Tensor, "B N C"], place: Float[Tensor, "B N"], kept: Bool[Tensor, "B N"]
) -> Float[Tensor, "B N"]:
    """Return the place that each token joins, `(B, N)`: that of the most similar kept token.

    Args:
        normed: `(B, N, C)` of length 1.
        place: Ranks.
        kept: Which tokens go on; these join themselves.
    """
    alike = torch.where(kept.unsqueeze(1), normed @ normed.transpose(1, 2), -2.0)  # (B, N, N)
    best = alike == alike.amax(dim=2, keepdim=True)
    joined = torch.where(best, place.unsqueeze(1), float(place.shape[1])).amin(dim=2)
    return torch.where(kept, place, joined)


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
    """Return `Tokens.source`, by look-ups, which a graph without that output does not hold."""
    index = place.long()
    if tokens.source is None:
        return index
    return torch.where(tokens.source >= 0, index.gather(1, tokens.source.clamp(min=0)), -1)
