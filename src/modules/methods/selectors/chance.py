"""Score patches at random: the baseline of every selection (paper A, Table 4b)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...layers.tokens import Tokens
from .base import Seen, Selector


class Chance(Selector):
    """Draws a uniform random score anew for each image and location."""

    @override
    def score(self, tokens: Tokens, number: int, seen: Seen) -> Float[Tensor, "B N"]:
        return torch.rand_like(tokens.patches[..., 0])
