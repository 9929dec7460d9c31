"""Draws decisions from scores in training."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

KEEP = 0  # position of "keep" in a predictor's output, as in the released weights


def gumbel_keep(log_probabilities: Float[Tensor, "B N 2"]) -> Float[Tensor, "B N"]:
    """Draw hard decisions `(B, N)` of 1 (keep) and 0 with straight-through gradients.

    Args:
        log_probabilities: `(B, N, 2)`, log-probabilities of keep and drop.

    Source: paper A, Eq. 6; Jang et al., "Categorical Reparameterization with Gumbel-Softmax"
    (ICLR 2017, arXiv:1611.01144).
    """
    return F.gumbel_softmax(log_probabilities.float(), hard=True)[..., KEEP]
