"""ATS: sample as many tokens as an image needs (Fayyaz et al., ECCV 2022, arXiv:2111.15667)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from ..layers.attention import Attended
from ..layers.tokens import Tokens
from .base import TokenReduction


class ATS(TokenReduction):
    """Draws tokens by their significance after the attention of each location.

    Significance is the class token's attention times the length of the token's value. Its
    cumulative sum is read at `num_keep` equally spaced levels (inverse transform sampling). A token
    that is read twice is kept once, so that an image with few significant tokens keeps fewer than
    `num_keep`; it is padded with tokens of size 0, so that a batch stays rectangular and the cost
    is the schedule's.
    """

    needs_class_token = True

    @override
    def reduce(self, tokens: Tokens, attended: Attended, count: int) -> Tokens:
        if count >= tokens.patches.shape[1]:
            return tokens
        read = sample(significance(tokens, attended), count)
        drawn = torch.zeros_like(tokens.patches[..., 0]).scatter(1, read, 1.0)  # (B, N)
        places = torch.arange(drawn.shape[1], device=drawn.device)
        # Put the drawn tokens first, in their order; ONNX has no stable sort.
        index = (drawn.long() * drawn.shape[1] - places).topk(count, dim=1).indices
        return tokens.select(index).mask(drawn.gather(1, index))


def significance(tokens: Tokens, attended: Attended) -> Float[Tensor, "B N"]:
    """Return scores `(B, N)` of the patch tokens that sum to 1; 0 for tokens of size 0."""
    attention = attended.weights(queries=1)[:, :, 0]  # (B, H, P+N)
    length = attended.value.float().norm(dim=-1)
    scores = (attention * length).sum(dim=1)[:, tokens.prefix :]
    if tokens.patch_size is not None:
        scores = scores * (tokens.patch_size > 0)
    return scores / scores.sum(dim=1, keepdim=True).clamp(min=1e-12)


def sample(scores: Float[Tensor, "B N"], count: int) -> Int[Tensor, "B {count}"]:
    """Return the tokens at which the cumulative scores reach equally spaced levels, `(B, count)`.

    Args:
        scores: `(B, N)`, with sum 1.
        count: Number of levels, which are the middles of `count` equal steps from 0 to 1.
    """
    steps = (torch.arange(count, device=scores.device, dtype=scores.dtype) + 0.5) / count
    cumulative = scores.cumsum(dim=1).unsqueeze(1)  # (B, 1, N)
    index = (cumulative < steps.unsqueeze(1)).sum(dim=2)  # searchsorted, which ONNX lacks
    return index.clamp(max=scores.shape[1] - 1)
