"""PiToMe: protect rare tokens, then merge (Tran et al., NeurIPS 2024, arXiv:2405.16148)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from ..layers import products
from .tome import ToMe

MARGIN = 0.9  # in the first block; it falls to 0 after the last


class PiToMe(ToMe):
    """Merges, after each attention, tokens that resemble many others, and protects rare ones.

    A token's energy is the mean over the others of f(cosine of their keys), with f(c) = c from a
    margin on and exp(c - margin) - 1 below it; the margin falls from block to block. The 2r tokens
    of highest energy, in that order, go alternately into two halves, and each of the first half
    merges into the nearest of the second; all others are protected. Averages and attention are
    weighted by size. Departure: as in `ToMe` the number of tokens merged in a block is fixed, and
    not a share of those that are left.
    """

    @override
    def match(
        self, layer: int, metric: Float[Tensor, "B N D"], r: int, prefix: int
    ) -> tuple[Int[Tensor, "B N"], int]:
        count = metric.shape[1]
        cosine = metric @ metric.transpose(1, 2)  # (B, N, N)
        order = energy(cosine, MARGIN * (1 - layer / self.depth)).argsort(dim=1, descending=True)
        leaving, receiving = order[:, 0 : 2 * r : 2], order[:, 1 : 2 * r : 2]  # (B, r) each
        rows = metric.gather(1, leaving.unsqueeze(-1).expand(-1, -1, metric.shape[2]))
        columns = metric.gather(1, receiving.unsqueeze(-1).expand(-1, -1, metric.shape[2]))
        target = (rows @ columns.transpose(1, 2)).argmax(dim=2)  # (B, r)
        protected = order[:, 2 * r :]
        stay = torch.arange(count - r, device=order.device).expand(order.shape[0], -1)
        joined = torch.cat([stay, target + count - 2 * r], dim=1)
        places = torch.cat([protected, receiving, leaving], dim=1)
        return torch.empty_like(order).scatter(1, places, joined), count - r

    @override
    def match_by_products(
        self, layer: int, metric: Float[Tensor, "B N D"], r: int, prefix: int
    ) -> Float[Tensor, "B N"]:
        cosine = metric @ metric.transpose(1, 2)
        place = products.rank(energy(cosine, MARGIN * (1 - layer / self.depth)))
        odd = place - 2 * (place / 2).floor()
        near = products.nearest(cosine, place, (place < 2 * r) & (odd == 1))
        target = torch.where(odd == 1, place, near)  # an odd place, which receives
        joined = metric.shape[1] - 2 * r + (target - 1) / 2
        return torch.where(place < 2 * r, joined, place - 2 * r)


def energy(cosine: Float[Tensor, "B N N"], margin: float) -> Float[Tensor, "B N"]:
    """Return the energy of each token, `(B, N)`, from the cosines `(B, N, N)`; see `PiToMe`."""
    near = torch.where(cosine >= margin, cosine, torch.expm1(cosine - margin))
    itself = torch.eye(cosine.shape[1], device=cosine.device)  # `diagonal` is a look-up in ONNX
    return (near.sum(dim=2) - (near * itself).sum(dim=2)) / cosine.shape[1]
