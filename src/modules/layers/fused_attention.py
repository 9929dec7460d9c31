"""Computes attention with sizes, and its gradient, in fused kernels (see docs/attention.md)."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

# A dropped key's logit is lowered by this much instead of by infinity: exp(-64) vanishes beside 1
# in fp32, yet is a number whose gradient, raised by exp(64), is the gradient in the size.
LOWERED = 64.0
_SMALLEST = math.exp(-LOWERED)


def fused(
    query: Float[Tensor, "B H T D"],
    key: Float[Tensor, "B H T D"],
    value: Float[Tensor, "B H T D"],
    size: Float[Tensor, "B T"],
    scale: float,
    bias: Float[Tensor, "#B #H T T"] | None = None,
) -> Float[Tensor, "B H T D"]:
    """Compute `explicit` without its T x T matrices; differentiable in every tensor.

    Arguments and result are those of `attend`. The result is exact as long as no dropped key's
    logit exceeds those of the kept keys by more than about 50; beyond that it stays finite.
    """
    dtype = value.dtype
    if dtype == torch.float16:  # its range is too small for exp(-64)
        value = value.float()
    query, key = query.to(value.dtype), key.to(value.dtype)
    bias = None if bias is None else bias.to(value.dtype)
    if value.device.type == "cpu":
        out: Tensor = OnCPU.apply(query, key, value, size, scale, bias)
    else:  # recomputed in the backward pass rather than kept
        out = checkpoint(
            by_columns,
            *(query, key, value, size, scale, bias),
            use_reentrant=False,
            preserve_rng_state=False,
        )
    return out.to(dtype)


class OnCPU(torch.autograd.Function):
    """Computes `fused` by PyTorch's flash kernel for CPUs, which also returns log Z.

    docs/attention.md derives both passes ("On the CPU" and "The gradient in the sizes").
    """

    @staticmethod
    @override
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        size: Tensor,
        scale: float,
        bias: Tensor | None,
    ) -> Tensor:
        mask = size.clamp(min=_SMALLEST).log().to(query.dtype)[:, None, None, :]
        mask = mask if bias is None else mask + bias
        out, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, attn_mask=mask, scale=scale
        )
        own = scale * (query.float() * key.float()).sum(-1)  # (B, H, T)
        own = own if bias is None else own + bias.diagonal(dim1=-2, dim2=-1)
        missing = (1 - size).clamp(min=0)[:, None, :]
        excess = own + missing.log() - log_sum
        out = out.lerp_(value, excess.sigmoid().unsqueeze(-1).to(out.dtype))
        log_sum = log_sum + F.softplus(excess)
        ctx.save_for_backward(query, key, value, size, out, log_sum, own, bias)
        ctx.scale = scale
        return out

    @staticmethod
    @override
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, size, out, log_sum, own, bias = ctx.saved_tensors
        (gradient,) = gradients
        scale, dim = ctx.scale, query.shape[-1]
        weight = size.clamp(min=_SMALLEST)
        column = weight.log().to(key.dtype)[:, None, :, None].expand_as(key[..., :1])
        of_query, of_key, of_value = (
            torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                F.pad(gradient, (0, 1)),
                F.pad(query, (0, 1), value=1 / scale),
                torch.cat([key, column], dim=-1),
                F.pad(value, (0, 1)),
                F.pad(out, (0, 1)),
                log_sum,
                0.0,
                False,
                attn_mask=bias,
                scale=scale,
            )
        )
        of_size = of_key[..., dim].sum(1, dtype=torch.float32) / weight
        of_query, of_key, of_value = (each[..., :dim] for each in (of_query, of_key, of_value))
        # A token's own weight is not a decision (G_ii = 1 in paper A, Eq. 10): no gradient in size.
        share = (own - log_sum).clamp(max=0).exp()  # weight of the own key at size 1
        of_share = (gradient * (value - out)).sum(-1, dtype=torch.float32)
        of_size -= (share * of_share).sum(1)
        added = share * (1 - size).clamp(min=0)[:, None, :]
        of_logit = (added * of_share * scale).unsqueeze(-1).to(key.dtype)
        of_value.addcmul_(gradient, added.unsqueeze(-1).to(key.dtype))
        of_query.addcmul_(key, of_logit)
        of_key.addcmul_(query, of_logit)
        of_bias = None
        if bias is not None and ctx.needs_input_grad[5]:  # as large as the bias: T x T
            logits = scale * query.float() @ key.float().transpose(-2, -1) + bias
            logits += weight.log()[:, None, None, :]
            weights = (logits - log_sum.unsqueeze(-1)).exp()
            weights.diagonal(dim1=-2, dim2=-1).add_(added)
            slopes = gradient @ value.transpose(-2, -1) - (gradient * out).sum(-1, keepdim=True)
            of_bias = (weights * slopes).sum_to_size(bias.shape).to(bias.dtype)
        return of_query, of_key, of_value, of_size.to(size.dtype), None, of_bias


def by_columns(
    query: Float[Tensor, "B H T D"],
    key: Float[Tensor, "B H T D"],
    value: Float[Tensor, "B H T D"],
    size: Float[Tensor, "B T"],
    scale: float,
    bias: Float[Tensor, "#B #H T T"] | None = None,
) -> Float[Tensor, "B H T D"]:
    """Compute `fused` by one plain attention over augmented queries, keys and values.

    Works on any device; docs/attention.md derives the added columns and the extra key ("On other
    devices"). Arguments and result are those of `fused`.
    """
    dtype, dim = value.dtype, query.shape[-1]
    pad = -(dim + 2) % 8  # to a multiple of 8, as GPU kernels prefer
    extra = key.detach().mean(dim=2, keepdim=True)  # (B, H, 1, D)
    dropped = (size.detach() == 0).to(dtype)[:, None, :, None]  # (B, 1, T, 1)
    weight = size.to(dtype)[:, None, :, None] * (LOWERED * dropped).exp()
    rows = [value * weight, weight.expand_as(value[..., :1])]
    values = F.pad(torch.cat(rows, dim=-1), (0, 1 + pad, 0, 1))  # (B, H, T+1, D+2+pad)
    values[..., -1, dim + 1] = 1.0
    lowered = (-LOWERED * dropped).expand_as(key[..., :1])
    keys = torch.cat([key, lowered], dim=-1)
    keys = F.pad(torch.cat([keys, F.pad(extra, (0, 1))], dim=2), (0, 1 + pad))
    queries = F.pad(F.pad(query, (0, 1), value=1 / scale), (0, 1 + pad))
    mask = None if bias is None else F.pad(bias, (0, 1))
    mixed = F.scaled_dot_product_attention(queries, keys, values, mask, scale=scale)
    numerator, denominator, share = mixed[..., : dim + 2].float().split([dim, 1, 1], dim=-1)
    # A token's own weight is not a decision (G_ii = 1 in paper A, Eq. 10): no gradient.
    missing = (size.detach().clamp(min=1) - size).float()[:, None, :, None]
    own = (query * (key - extra)).sum(-1, keepdim=True).float() * scale
    own = own if bias is None else own + bias.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)
    own = missing * (share * own.clamp(max=LOWERED).exp())
    total = (denominator + own).clamp(min=1e-9)
    return ((numerator + own * value.float()) / total).to(dtype)
