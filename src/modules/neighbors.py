"""Classifies embeddings by their nearest neighbors in a bank of labelled ones."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric as TorchMetric
from torchmetrics.utilities import dim_zero_cat
from typing_extensions import override

TEMPERATURE = 0.07  # as in DINO
_QUERIES = 1024  # how many are compared with the bank at once


class NearestNeighbors(TorchMetric):
    """Measures top-1 accuracy by the `k` nearest neighbors in a bank, in [0, 1].

    A neighbor's vote weighs exp(cosine / 0.07), as in DINO (Caron et al., arXiv:2104.14294).
    """

    full_state_update = False
    bank: list[Tensor]
    bank_labels: list[Tensor]
    queries: list[Tensor]
    labels: list[Tensor]

    def __init__(self, k: int = 20) -> None:
        """Start without images; `k` neighbors vote, or all if the bank has fewer."""
        super().__init__()
        self.k = k
        for state in ("bank", "bank_labels", "queries", "labels"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def remember(self, embeddings: Tensor, labels: Tensor) -> None:
        """Add `embeddings (B, D)` with `labels (B,)` to the bank."""
        self.bank.append(_unit(embeddings))
        self.bank_labels.append(labels)

    @override
    def update(self, embeddings: Tensor, labels: Tensor) -> None:
        """Add images to classify.

        Args:
            embeddings: `(B, D)`.
            labels: `(B,)`.
        """
        self.queries.append(_unit(embeddings))
        self.labels.append(labels)

    @override
    def compute(self) -> Tensor:
        bank, bank_labels = dim_zero_cat(self.bank), dim_zero_cat(self.bank_labels)
        queries, labels = dim_zero_cat(self.queries), dim_zero_cat(self.labels)
        voted = [nearest_class(part, bank, bank_labels, self.k) for part in queries.split(_QUERIES)]
        return (torch.cat(voted) == labels).float().mean()


def nearest_class(queries: Tensor, bank: Tensor, labels: Tensor, k: int) -> Tensor:
    """Return the class `(B,)` that the `k` nearest neighbors of each query vote for.

    Args:
        queries: `(B, D)`, of length 1.
        bank: `(N, D)`, of length 1.
        labels: Labels of the bank, `(N,)`, from 0.
        k: How many neighbors vote.
    """
    cosines, places = (queries @ bank.T).topk(min(k, len(bank)), dim=1)
    weights = ((cosines - cosines[:, :1]) / TEMPERATURE).exp()  # the nearest weighs 1
    votes = weights.new_zeros(len(queries), int(labels.max()) + 1)
    return votes.scatter_add(1, labels[places], weights).argmax(dim=1)


def _unit(embeddings: Tensor) -> Tensor:
    return F.normalize(embeddings.detach().float(), dim=-1)
