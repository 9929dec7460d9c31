"""Computes attention among tokens that stand for none, one or several patches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from .fused_attention import fused
from .limit import apply_bound, carry_bound

# exp(80) is finite in fp32; a dropped key's logit may exceed every kept one by more.
_LARGEST_EXPONENT = 80.0
# The key with the largest logit adds at least 1 to the sum, unless no key counts.
_SMALLEST_SUM = 1e-30


@dataclass(frozen=True)
class Attended:
    """Holds the inputs of an attention, for methods that decide by its weights.

    Attributes:
        query: `(B, H, P+N, D)`, also the shape of `key` and `value`.
        key: Keys.
        value: Values.
        scale: Factor on the logits.
        size: `(B, P+N)` weights of the keys, None for all ones.
        bias: `(B, H, P+N, P+N)` added to the logits, or None.
    """

    query: Float[Tensor, "B H T D"]
    key: Float[Tensor, "B H T D"]
    value: Float[Tensor, "B H T D"]
    scale: float
    size: Float[Tensor, "B T"] | None
    bias: Float[Tensor, "#B #H T T"] | None = None

    def weights(self, queries: int | None = None) -> Float[Tensor, "B H Q T"]:
        """Return the attention weights of the first `queries` tokens, `(B, H, queries, P+N)`.

        Args:
            queries: All tokens by default.
        """
        # In fp32 from the start: a logit may be beyond fp16.
        query = self.query[:, :, :queries].float() * self.scale
        logits = query @ self.key.float().transpose(-2, -1)
        if self.bias is not None:
            logits = logits + self.bias[:, :, :queries]
        if self.size is not None:
            logits = logits + log_size(self.size, logits.dtype)
        return logits.softmax(-1)


def attend(
    query: Float[Tensor, "B H T D"],
    key: Float[Tensor, "B H T D"],
    value: Float[Tensor, "B H T D"],
    size: Float[Tensor, "B T"] | None = None,
    dropout: float = 0.0,
    scale: float | None = None,
    bias: Float[Tensor, "#B #H T T"] | None = None,
) -> Float[Tensor, "B H T D"]:
    """Attend with weight `size_j` for key j; if sizes learn, a token's own key weighs at least 1.

    With sizes 0 and 1 this is DynamicViT's attention masking (paper A, Eq. 9-11); with larger
    sizes ToMe's proportional attention (Bolya et al. 2023, Eq. 1). It runs in fused kernels and
    its memory grows linearly in T. `explicit` computes the same from the definition;
    docs/attention.md derives both.

    Args:
        query: `(B, H, T, D)`, also the shape of `key`, `value` and of the result.
        key: Keys.
        value: Values.
        size: `(B, T)` or None for all ones.
        dropout: Probability with which an attention weight is dropped; with sizes it leaves the
            fused kernels.
        scale: Factor on the logits; 1/sqrt(D) by default.
        bias: `(B, H, T, T)` added to the logits, as of relative positions; B and H may be 1.
    """
    if bias is not None:
        bias = bias.to(query.dtype)
    if size is None:
        return F.scaled_dot_product_attention(query, key, value, bias, dropout, scale=scale)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if torch.is_grad_enabled() and size.requires_grad:
        size, bound = apply_bound(size)
        if dropout:
            out = explicit(query, key, value, size, scale, dropout, bias)
        else:
            out = fused(query, key, value, size, scale, bias)
        return carry_bound(out, value, bound)
    # Sizes without a gradient are a bias like any other. The results differ for tokens of size 0
    # alone, which do not attend to themselves then; no other token attends to them.
    mask = log_size(size, query.dtype)
    mask = mask if bias is None else mask + bias
    return F.scaled_dot_product_attention(query, key, value, mask, dropout, scale=scale)


def attend_from(
    query: Float[Tensor, "B H Q D"],
    key: Float[Tensor, "B H T D"],
    value: Float[Tensor, "B H T D"],
    size: Float[Tensor, "B T"],
    scale: float,
) -> Float[Tensor, "B H Q D"]:
    """Attend from learned queries to tokens that weigh `size`; return 0 where all sizes are 0.

    Unlike in `attend`, no query is one of the tokens, so none has a key of its own.

    Args:
        query: `(B, H, Q, D)`, also the shape of the result.
        key: `(B, H, T, D)`, also the shape of `value`.
        value: Values.
        size: `(B, T)`.
        scale: Factor on the logits.
    """
    size, bound = apply_bound(size) if torch.is_grad_enabled() else (size, None)
    logits = (query * scale).float() @ key.float().transpose(-2, -1)  # (B, H, Q, T)
    weights = _weighted_softmax(logits, size.float()[:, None, None, :])
    out = weights.to(value.dtype) @ value
    return out if bound is None else carry_bound(out, value, bound)


def log_size(size: Float[Tensor, "B T"], dtype: torch.dtype) -> Float[Tensor, "B 1 1 T"]:
    """Return the bias on the logits, `(B, 1, 1, T)`, by which key j weighs `size_j (B, T)`.

    The bias of size 0 is a finite number below all logits: with -inf, the softmax of a row in
    which every key is dropped would be undefined.
    """
    return size.log().to(dtype).clamp(min=torch.finfo(dtype).min / 2)[:, None, None, :]


def explicit(
    query: Float[Tensor, "B H T D"],
    key: Float[Tensor, "B H T D"],
    value: Float[Tensor, "B H T D"],
    size: Float[Tensor, "B T"],
    scale: float,
    dropout: float = 0.0,
    bias: Float[Tensor, "#B #H T T"] | None = None,
) -> Float[Tensor, "B H T D"]:
    """Compute `attend` from its definition, with a T x T matrix for each head.

    Arguments and result are those of `attend`; sizes and scale must be given.
    """
    logits = (query * scale) @ key.transpose(-2, -1)
    logits = logits if bias is None else logits + bias
    weights = sized_softmax(logits, size).to(value.dtype)
    return F.dropout(weights, dropout) @ value


def sized_softmax(
    logits: Float[Tensor, "B H T T"], size: Float[Tensor, "B T"]
) -> Float[Tensor, "B H T T"]:
    """Return the softmax `(B, H, T, T)`, in fp32, over keys that weigh `size (B, T)`.

    With sizes 0 and 1 it equals the softmax over the kept keys exactly: no epsilon is added, and
    the subtracted maximum is taken over keys of positive size. Differentiable in `size`.
    """
    size = size.float()
    own = torch.eye(size.shape[1], dtype=torch.bool, device=size.device)
    # A token's own weight is not a decision (G_ii = 1 in Eq. 10): it passes no gradient.
    weight = torch.where(own, size.detach().clamp(min=1)[:, None, :], size[:, None, :])[:, None]
    return _weighted_softmax(logits.float(), weight)


def _weighted_softmax(
    logits: Float[Tensor, "B H Q T"], weight: Float[Tensor, "#B 1 #Q T"]
) -> Float[Tensor, "B H Q T"]:
    """Return the softmax of fp32 `logits` over keys that count `weight` times; 0 if none does."""
    fixed = logits.detach()
    largest = fixed.masked_fill(weight == 0, -torch.inf).amax(-1, keepdim=True)
    # Where none counts, the largest of all: else gradients in the weights overflow to NaN.
    largest = torch.where(largest > -torch.inf, largest, fixed.amax(-1, keepdim=True))
    unnormalized = (logits - largest).clamp(max=_LARGEST_EXPONENT).exp() * weight
    return unnormalized / unnormalized.sum(-1, keepdim=True).clamp(min=_SMALLEST_SUM)
