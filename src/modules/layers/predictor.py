"""Scores each token by its own features and by those of the image, with a learned head."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Predictor(nn.Module):
    """Predicts log-probabilities of keep and drop for each token (paper A, Eq. 1-5).

    Half of the channels describe the token, the other half are averaged over the tokens that are
    still kept. Weights are named as in the released checkpoints.
    """

    def __init__(self, dim: int) -> None:
        """Make a head for tokens of `dim` channels."""
        super().__init__()
        self.in_conv = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU())
        self.out_conv = nn.Sequential(
            nn.Linear(dim, dim // 2),
            nn.GELU(),
            nn.Linear(dim // 2, dim // 4),
            nn.GELU(),
            nn.Linear(dim // 4, 2),
            nn.LogSoftmax(dim=-1),
        )

    def forward(
        self, x: Float[Tensor, "B N C"], size: Float[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B N 2"]:
        """Return log-probabilities of keep and drop.

        Args:
            x: `(B, N, C)`.
            size: `(B, N)` weights of the average; None for all ones.

        Returns:
            `(B, N, 2)`, keep at index 0.
        """
        local, context = self.in_conv(x).chunk(2, dim=-1)  # (B, N, C/2) each
        context = size_weighted_mean(context, size).expand_as(local)
        log_probabilities: Tensor = self.out_conv(torch.cat([local, context], dim=-1))
        return log_probabilities


def size_weighted_mean(
    x: Float[Tensor, "B N C"], size: Float[Tensor, "B N"] | None
) -> Float[Tensor, "B 1 C"]:
    """Return the mean `(B, 1, C)` of `x (B, N, C)` weighted by `size (B, N)`; 0 if all are 0."""
    if size is None:
        return x.mean(dim=1, keepdim=True)
    total = size.sum(dim=1, dtype=torch.float32).clamp(min=1)[:, None, None]
    return ((x * size.unsqueeze(-1)).sum(dim=1, keepdim=True) / total).to(x.dtype)
