"""Starts learned queries from what the dense network's class token attends to."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..measure.evaluating import evaluating
from .backbones.base import SparseBackbone
from .backbones.inputs import image_errors_named
from .backbones.sequence import SequenceBackbone
from .layers.attention import Attended
from .layers.tokens import Tokens
from .methods.selection import Selection
from .methods.selectors.base import Seen
from .methods.selectors.query import LearnedQuery, normed_patches
from .methods.selectors.value_attention import ClassTokenValue

_RIDGE = 1e-3  # of the mean variance of a channel


def learned_query(student: SparseBackbone) -> LearnedQuery | None:
    """Return the queries that `start_queries` sets; None where there is nothing to start from."""
    method = student.method
    if not isinstance(student, SequenceBackbone) or not isinstance(method, Selection):
        return None
    has_class_token = student.geometry(student.backbone).class_token
    selector = method.selector
    return selector if has_class_token and isinstance(selector, LearnedQuery) else None


def start_queries(student: SparseBackbone, images: Tensor | Iterable[Tensor]) -> tuple[float, ...]:
    """Set each learned query to the best linear prediction of the class token's attention.

    With n_j the normed patch tokens that enter location l of the dense network, and A_m(j) the
    class token's attention to patch j in block m times the norm of j's value, averaged over the
    heads and divided by its sum over the patches,

        t_j = log sum_{m >= l} A_m(j),      q_l = argmin sum (q . (n_j - mean n) - (t_j - mean t))^2

    over all images, with means over an image's patches and a ridge of 0.001 times a channel's mean
    variance. No label is read and nothing else of the student changes.

    Args:
        student: One whose method has a `LearnedQuery` for each location, as `query_absorb`.
        images: One batch `(B, 3, H, W)` or several, prepared as for evaluation and on the student's
            device; 64 images do.

    Returns:
        For each location the share of the targets' variance that its query explains (R^2).

    Raises:
        InputError: If there are no such queries, no class token, no images, images of a kind or
            shape that the network does not take, or features that are not finite.
    """
    selector = learned_query(student)
    if selector is None:
        raise InputError(
            f"{student.method.name} on this {type(student.backbone).__name__} has no queries to "
            "start from a class token's attention: choose method=query_absorb on a network with a "
            "class token, as deit_s."
        )
    assert isinstance(student, SequenceBackbone)
    locations = student.method.schedule.locations
    sums = [_Regression(selector.queries.shape[1]) for _ in locations]
    batches = [images] if isinstance(images, Tensor) else images
    if not isinstance(batches, Iterable):
        raise InputError(
            f"images is a {type(images).__name__}: give a tensor (B, 3, H, W), or several."
        )
    with evaluating(student), torch.inference_mode():
        for batch in batches:
            watched = _Watched(locations)
            with image_errors_named(batch, student.backbone, student.input_sides):
                student._walk(batch, watched)
            for location, regression in zip(locations, sums, strict=True):
                regression.add(*watched.pairs(location))
    fitted = [regression.solution() for regression in sums]
    queries = torch.stack([query for query, _ in fitted])
    with torch.no_grad():
        selector.queries.copy_(queries)
    return tuple(explained for _, explained in fitted)


class _Watched:
    """Keeps every token and records a dense walk's normed patches and class token's attention."""

    def __init__(self, locations: tuple[int, ...]) -> None:
        self._locations = locations
        self._normed: dict[int, Tensor] = {}
        self._attention: dict[int, Tensor] = {}

    def after_embedding(self, images: Tensor, tokens: Tokens) -> Tokens:
        return tokens

    def before_block(self, layer: int, tokens: Tokens) -> Tokens:
        if layer in self._locations:
            self._normed[layer] = normed_patches(tokens)
        return tokens

    def after_attention(self, layer: int, tokens: Tokens, attended: Attended) -> Tokens:
        row = ClassTokenValue.of(tokens, Seen(attended=attended))
        self._attention[layer] = row / row.sum(dim=1, keepdim=True)
        return tokens

    def after_mlp(self, layer: int, tokens: Tokens, moved: Tensor) -> Tokens:
        return tokens

    def pairs(self, location: int) -> tuple[Tensor, Tensor]:
        """Return the patches `(B, N, C)` and targets `(B, N)` of a location."""
        later = [row for layer, row in self._attention.items() if layer >= location]
        return self._normed[location], torch.stack(later).sum(dim=0).log()


class _Regression:
    """Sums the normal equations of a ridge regression, in fp64."""

    def __init__(self, dim: int) -> None:
        self._gram = torch.zeros(dim, dim, dtype=torch.float64)
        self._moment = torch.zeros(dim, dtype=torch.float64)
        self._square = 0.0

    def add(self, features: Float[Tensor, "B N C"], targets: Float[Tensor, "B N"]) -> None:
        """Add images; a patch without attention, as one that fills up a batch, does not count."""
        features, targets = features.double().cpu(), targets.double().cpu()
        weight = targets.isfinite().double().unsqueeze(-1)  # (B, N, 1)
        count = weight.sum(dim=1, keepdim=True).clamp(min=1)
        targets = targets.nan_to_num(0.0, 0.0, 0.0).unsqueeze(-1)
        features = weight * (features - (weight * features).sum(dim=1, keepdim=True) / count)
        targets = weight * (targets - (weight * targets).sum(dim=1, keepdim=True) / count)
        rows, values = features.flatten(0, 1), targets.flatten()
        self._gram += rows.T @ rows
        self._moment += rows.T @ values
        self._square += float(values @ values)

    def solution(self) -> tuple[Tensor, float]:
        """Return the query `(C,)` and the share of the variance that it explains."""
        variance = float(self._gram.diagonal().mean())
        if not 0 < variance < float("inf"):
            raise InputError(
                "Queries cannot start from these images: there are none, or the network's features "
                "are not finite."
            )
        ridge = _RIDGE * variance * torch.eye(len(self._moment), dtype=torch.float64)
        query = torch.linalg.solve(self._gram + ridge, self._moment)
        rest = self._square - 2 * query @ self._moment + query @ self._gram @ query
        return query, 1 - float(rest) / max(self._square, 1e-300)
