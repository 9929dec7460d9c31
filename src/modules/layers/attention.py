"""Attention among tokens that stand for none, one or several patches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

# exp(80) is finite in fp32; a dropped key's logit may exceed every kept one by more.
_LARGEST_EXPONENT = 80.0
_LOWERED = 50.0
# Stands for 0 where -inf would make a row of dropped keys alone undefined.
_SMALLEST_SIZE = 1e-30


@dataclass(frozen=True)
class Attended:
    """What attention saw, for methods that decide by it.

    Attributes:
        query: `(B, H, P+N, D)`, also the shape of `key` and `value`.
        key: Keys.
        value: Values.
        scale: Factor on the logits.
        size: `(B, P+N)` weights of the keys, None for all ones.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    scale: float
    size: Tensor | None

    def weights(self, queries: int | None = None) -> Tensor:
        """Attention of the first `queries` tokens, all by default, `(B, H, queries, P+N)`."""
        query = self.query[:, :, :queries] * self.scale
        logits = (query @ self.key.transpose(-2, -1)).float()
        if self.size is not None:
            logits = logits + self.size[:, None, None, :].log()
        return logits.softmax(-1)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    size: Tensor | None = None,
    dropout: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    """Attention in which key j weighs `size_j`, and a token's own key at least 1.

    With sizes 0 and 1 this is DynamicViT's attention masking (paper A, Eq. 9-11); with larger
    sizes ToMe's proportional attention (Bolya et al. 2023, Eq. 1). Runs in fused kernels, in
    memory that grows as T; `explicit` is the same to be read.

    Args:
        query: `(B, H, T, D)`, also the shape of `key`, `value` and of the result.
        key: Keys.
        value: Values.
        size: `(B, T)` or None for all ones.
        dropout: Probability with which an attention weight is dropped; with sizes it leaves the
            fused kernels.
        scale: Factor on the logits; 1/sqrt(D) by default.
    """
    if size is None:
        return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, scale=scale)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if dropout:
        return explicit(query, key, value, size, scale, dropout)
    if torch.is_grad_enabled():
        return _fused(query, key, value, size, scale)
    # Without a gradient a bias does it. Only tokens of size 0, which nobody reads, differ: they
    # do not see themselves.
    bias = size.clamp(min=_SMALLEST_SIZE).log().to(query.dtype)[:, None, None, :]
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)


def _fused(query: Tensor, key: Tensor, value: Tensor, size: Tensor, scale: float) -> Tensor:
    """Numerator and denominator of the sized softmax as columns of one plain attention.

    The values are `[size v, size]`, so that plain attention returns the weighted sum of values and
    the sum of weights, both over the plain softmax's denominator Z. What a token's own key lacks
    to weigh 1 is added behind: it needs exp(own logit) / Z, and an extra key whose value is 1 in
    a column of its own yields exp(its logit) / Z. That key is the mean of all keys, so that
    exp(own logit - its logit) stays moderate.

    So that dropped keys do not crowd out the others in Z, their logits are lowered by `_LOWERED`
    (a column of 1 beside the queries, one of -_LOWERED beside the keys), and raised again in
    their values, which are 0 but have a gradient in `size`.

    Differentiable in everything, as long as no row's logits differ by more than 50. Beyond that
    everything stays finite, and the result goes to 0 where dropped keys outweigh all others by
    more than exp(70).
    """
    dtype = value.dtype
    if dtype == torch.float16:  # its range is too small for this
        query, key, value = query.float(), key.float(), value.float()
    dim = query.shape[-1]
    pad = -(dim + 2) % 8  # as kernels on GPUs like it
    extra = key.detach().mean(dim=2, keepdim=True)  # (B, H, 1, D)
    dropped = (size.detach() == 0).to(value.dtype)[:, None, :, None]  # (B, 1, T, 1)
    weight = size.to(value.dtype)[:, None, :, None] * (_LOWERED * dropped).exp()
    rows = [value * weight, weight.expand_as(value[..., :1])]
    values = F.pad(torch.cat(rows, dim=-1), (0, 1 + pad, 0, 1))  # (B, H, T+1, D+2+pad)
    values[..., -1, dim + 1] = 1.0
    lowered = (-_LOWERED * dropped).expand_as(key[..., :1])
    keys = torch.cat([key, lowered], dim=-1)
    keys = F.pad(torch.cat([keys, F.pad(extra, (0, 1))], dim=2), (0, 1 + pad))
    queries = F.pad(F.pad(query, (0, 1), value=1 / scale), (0, 1 + pad))
    mixed = F.scaled_dot_product_attention(queries, keys, values, scale=scale)
    numerator, denominator, share = mixed[..., : dim + 2].float().split([dim, 1, 1], dim=-1)
    # A token's own weight is no decision (G_ii = 1 in paper A, Eq. 10): without a gradient.
    missing = (size.detach().clamp(min=1) - size).float()[:, None, :, None]
    own = (query * (key - extra)).sum(-1, keepdim=True).float() * scale
    own = missing * (share * own.clamp(max=_LOWERED).exp())
    total = (denominator + own).clamp(min=1e-9)
    return ((numerator + own * value.float()) / total).to(dtype)


def explicit(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    size: Tensor,
    scale: float,
    dropout: float = 0.0,
) -> Tensor:
    """`attend` as its definition reads, with a T x T matrix for each head."""
    weights = sized_softmax((query * scale) @ key.transpose(-2, -1), size).to(value.dtype)
    return F.dropout(weights, dropout) @ value


def sized_softmax(logits: Tensor, size: Tensor) -> Tensor:
    """Softmax over keys that weigh `size (B, T)`; `logits` and result `(B, H, T, T)`, in fp32.

    Exactly the softmax over the kept keys alone where sizes are 0 and 1: no epsilon is added, and
    the subtracted maximum is taken over keys that count. Differentiable in `size`.
    """
    logits, size = logits.float(), size.float()
    own = torch.eye(size.shape[1], dtype=torch.bool, device=size.device)
    # A token's own weight is no decision (G_ii = 1 in Eq. 10): it passes no gradient.
    weight = torch.where(own, size.detach().clamp(min=1)[:, None, :], size[:, None, :])[:, None]
    largest = logits.detach().masked_fill(weight == 0, -torch.inf).amax(-1, keepdim=True)
    unnormalized = (logits - largest).clamp(max=_LARGEST_EXPONENT).exp() * weight
    return unnormalized / unnormalized.sum(-1, keepdim=True)
