"""A limit to the gradient of a masked softmax in the sizes of its keys."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.linalg import vector_norm


def limited(size: Tensor) -> tuple[Tensor, Tensor]:
    """Mark `size (B, T)` as it enters an attention; what leaves it goes through `limit`.

    A key of size 0 has the gradient sum_i exp(l_ij) / Z_i g_i (v_j - o_i), where Z_i sums the keys
    that count. Where its logit exceeds all of theirs by 30 the first factor is e^30, though no key
    can ever weigh more than 1. The limit is what the sum could be with factors up to 1,
    sum_i |g_i| (|v_j| + |o_i|): gradients within it stay exact.

    Returns:
        The sizes, and the handle `(B, T)` that `limit` takes.
    """
    marked, handle = _Limited.apply(size)
    return marked, handle


def limit(out: Tensor, value: Tensor, handle: Tensor) -> Tensor:
    """`out`, the attention's result; `out` and `value` are `(B, H, T, D)`."""
    result: Tensor = _Limit.apply(out, value, handle)
    return result


class _Limited(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, size: Tensor) -> tuple[Tensor, Tensor]:
        return size.view_as(size), torch.zeros_like(size)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        of_size, largest = gradients
        return of_size.clamp(-largest, largest)


class _Limit(torch.autograd.Function):
    """Hands the limit to `_Limited` as the gradient of its handle."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, value: Tensor, handle: Tensor) -> Tensor:
        ctx.save_for_backward(out, value)
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor]:
        out, value = ctx.saved_tensors
        (gradient,) = gradients
        of_out, outs, values = (
            vector_norm(each, dim=-1, dtype=torch.promote_types(each.dtype, torch.float32))
            for each in (gradient, out, value)
        )
        largest = values * of_out.sum(-1, keepdim=True) + (of_out * outs).sum(-1, keepdim=True)
        return gradient, None, largest.sum(1)
