"""Sends important positions down a block's own MLP, the slow path, others down a fast path."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from ...errors import InputError

Path = Callable[[Tensor], Tensor]


class TwoPaths(ABC):
    """Holds a decision for each position; both kinds compute the same under the same decision.

    Paths are merged in the block that splits them, so that every later decision reads features that
    are up to date. (The released code of paper B carries both maps on and reads stale ones in
    training.)
    """

    summary: Float[Tensor, "B C"] | None

    @property
    @abstractmethod
    def decision(self) -> Float[Tensor, "B N"]:
        """Return the decision `(B, N)`, 1 = slow path."""

    @abstractmethod
    def run(self, x: Float[Tensor, "B N C"], slow: Path, fast: Path) -> Float[Tensor, "B N C"]:
        """Return what the paths make of `x (B, N, C)`, each position independently of others."""


@dataclass(frozen=True)
class Blended(TwoPaths):
    """Sends every position down both paths, in training; `keep (B, N)` blends the results.

    Differentiable in `keep`.
    """

    keep: Float[Tensor, "B N"]
    summary: None = None

    @property
    @override
    def decision(self) -> Float[Tensor, "B N"]:
        return self.keep

    @override
    def run(self, x: Float[Tensor, "B N C"], slow: Path, fast: Path) -> Float[Tensor, "B N C"]:
        keep = self.keep.unsqueeze(-1).to(x.dtype)
        return keep * slow(x) + (1 - keep) * fast(x)


@dataclass(frozen=True)
class Gathered(TwoPaths):
    """Sends each position down one path, at inference and for selectors that draw no decisions.

    Attributes:
        order: `(B, N)`, positions, those of the slow path first.
        count: How many take the slow path.
        summary: `(B, C)`, what the selector learns from in training, if it needs an auxiliary loss.
    """

    order: Int[Tensor, "B N"]
    count: int
    summary: Float[Tensor, "B C"] | None = None

    @property
    @override
    def decision(self) -> Float[Tensor, "B N"]:
        slow = torch.arange(self.order.shape[1], device=self.order.device) < self.count
        slow = slow.float().expand(self.order.shape)
        return torch.empty_like(slow).scatter(1, self.order, slow)

    def run(self, x: Float[Tensor, "B N C"], slow: Path, fast: Path) -> Float[Tensor, "B N C"]:
        """Look up all rows of a path at once, compute both paths, write each row to its place."""
        flat = x.flatten(0, 1)  # (B*N, C)
        start = x.shape[1] * torch.arange(x.shape[0], device=x.device)
        rows = self.order + start.unsqueeze(1)
        out = torch.empty_like(flat)
        for path, own in ((slow, rows[:, : self.count]), (fast, rows[:, self.count :])):
            index = own.flatten()
            taken = path(flat.index_select(0, index).unflatten(0, own.shape))
            out.index_copy_(0, index, taken.flatten(0, 1).to(out.dtype))
        return out.view_as(x)


class FastPath(nn.Module):
    """Stands in for a block's MLP at little cost; in paper B a norm and one linear layer.

    Networks whose blocks scale their branches get a scale here too (`gamma`).
    """

    def __init__(self, layers: nn.Sequential, gamma: Float[Tensor, " C"] | None) -> None:
        """Take `layers` on `(B, N, C)` and the initial value `(C,)` of the scale, if any."""
        super().__init__()
        self.layers = layers
        self.gamma = None if gamma is None else nn.Parameter(gamma)
        for layer in layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Float[Tensor, "B N C"]) -> Float[Tensor, "B N C"]:
        """Return the branch `(B, N, C)` of `x (B, N, C)`, position by position."""
        out: Tensor = self.layers(x)
        return out if self.gamma is None else out * self.gamma


class NoBranch(nn.Module):
    """Adds nothing: positions pass unchanged."""

    def forward(self, x: Float[Tensor, "B N C"]) -> Float[Tensor, "B N C"]:
        """Return zeros like `x (B, N, C)`."""
        return torch.zeros_like(x)


def make_fast_path(kind: str, dim: int, layer_scale: float | None) -> nn.Module:
    """Make one of the fast paths `identity`, `linear` (paper B) and `mlp` (a quarter as wide).

    Args:
        kind: Its name.
        dim: Channels.
        layer_scale: Initial scale, or None for no scale.

    Raises:
        InputError: If there is no such kind.
    """
    norm = nn.LayerNorm(dim)
    if kind == "identity":
        return NoBranch()
    if kind == "linear":
        layers = nn.Sequential(norm, nn.Linear(dim, dim))
    elif kind == "mlp":
        layers = nn.Sequential(norm, nn.Linear(dim, dim // 4), nn.GELU(), nn.Linear(dim // 4, dim))
    else:
        raise InputError(f"method.fast_path={kind!r} is not one of identity, linear, mlp.")
    return FastPath(layers, None if layer_scale is None else torch.full((dim,), layer_scale))
