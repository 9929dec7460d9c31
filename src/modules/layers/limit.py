"""Clips the gradient of a masked softmax in its key sizes (docs/attention.md, "The bound")."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.linalg import vector_norm
from typing_extensions import override


def apply_bound(size: Float[Tensor, "B T"]) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Return `size (B, T)` for use in an attention, and a dummy tensor for `carry_bound`.

    The backward pass clips the gradient of `size` to the bound that it finds as the gradient of
    the dummy tensor `bound (B, T)`. A tensor hook on `size` would not do: it would have to read
    the bound from a Python variable that another hook set, which `torch.compile` cannot trace.
    """
    marked, bound = _ApplyBound.apply(size)
    return marked, bound


def carry_bound(
    out: Float[Tensor, "B H Q D"], value: Float[Tensor, "B H T D"], bound: Float[Tensor, "B T"]
) -> Float[Tensor, "B H Q D"]:
    """Return `out`, and send the bound of each key's gradient to `apply_bound` in backward.

    Args:
        out: `(B, H, Q, D)`, the attention's result.
        value: `(B, H, T, D)`.
        bound: The dummy tensor `(B, T)` that `apply_bound` returned.
    """
    result: Tensor = _CarryBound.apply(out, value, bound)
    return result


class _ApplyBound(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: FunctionCtx, size: Tensor) -> tuple[Tensor, Tensor]:
        return size.view_as(size), torch.zeros_like(size)

    @staticmethod
    @override
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> Tensor:
        of_size, bound = gradients
        return of_size.clamp(-bound, bound)


class _CarryBound(torch.autograd.Function):
    """Passes the gradient through and returns the bound as the gradient of the dummy tensor."""

    @staticmethod
    @override
    def forward(ctx: FunctionCtx, out: Tensor, value: Tensor, bound: Tensor) -> Tensor:
        ctx.save_for_backward(out, value)
        return out.view_as(out)

    @staticmethod
    @override
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor]:
        out, value = ctx.saved_tensors
        (gradient,) = gradients
        of_out, outs, values = (
            vector_norm(each, dim=-1, dtype=torch.promote_types(each.dtype, torch.float32))
            for each in (gradient, out, value)
        )
        bound = values * of_out.sum(-1, keepdim=True) + (of_out * outs).sum(-1, keepdim=True)
        return gradient, None, bound.sum(1)
