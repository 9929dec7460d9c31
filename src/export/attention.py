"""Rewrites attention among tokens of several sizes for runtimes without fused attention."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, cat
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from typing_extensions import override


class BiasAsChannel(TorchFunctionMode):
    """Computes attention with a bias for each key without another pass over the T x T logits.

    An ONNX file adds a bias to the logits as an operator of its own, which reads and writes them
    all once more. With the bias b as a further channel of the keys, and 1 as that of the queries,
    the product gives the sum: [s q, 1] [k, b]^T = s q k^T + b. That copies queries and keys, so it
    pays where T > 2 D; for fewer tokens, and for biases that differ by query, the bias is added.
    """

    @override
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            return _attend(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **options: Any,
) -> Tensor:
    """Compute `F.scaled_dot_product_attention` of `query (B, H, T, D)`, with its arguments."""
    *_, tokens, dim = query.shape
    if is_causal or options or dropout_p or not _by_key(attn_mask) or tokens <= 2 * dim:
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, **options
        )
    assert attn_mask is not None
    scaled = query * (dim**-0.5 if scale is None else scale)
    bias = attn_mask + key.new_zeros(1, key.shape[1], 1, 1)  # (B, H, 1, T)
    keys = cat([key.transpose(-2, -1), bias], dim=-2)
    return (F.pad(scaled, (0, 1), value=1.0) @ keys).softmax(-1) @ value


def _by_key(mask: Tensor | None) -> bool:
    """Is a mask a bias for each key of each image, `(B, 1, 1, T)`?"""
    if mask is None or not mask.is_floating_point() or mask.shape[1:3] != (1, 1):
        return False
    one_for_all = isinstance(mask.shape[0], int) and mask.shape[0] == 1  # a free batch is no int
    return not one_for_all
