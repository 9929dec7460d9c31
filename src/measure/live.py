"""Follows on the meta device what a training step would hold, without running it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary
from typing_extensions import override

_LOWERED = {
    F.linear,
    F.conv2d,
    torch.matmul,
    torch.bmm,
    Tensor.matmul,
    Tensor.__matmul__,
}


class Live(TorchDispatchMode):
    """Counts the bytes of tensors that are made within it and still held.

    Attributes:
        held: Bytes now.
        most: Bytes at most so far.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        """Count nothing of the tensors `known`, as of weights that were there before."""
        super().__init__()
        self.held = self.most = 0
        self._seen = WeakIdKeyDictionary(ref_type=weakref.ref)
        for tensor in known:
            self._seen[tensor.untyped_storage()] = True

    @override
    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        result = func(*args, **kwargs or {})
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen:
            return
        self._seen[storage] = True
        size = storage.nbytes()
        self.held += size
        self.most = max(self.most, self.held)
        weakref.finalize(storage, self._freed, size).atexit = False

    def _freed(self, size: int) -> None:
        self.held -= size


@contextmanager
def fused_attention(dtype: torch.dtype | None = None) -> Iterator[None]:
    """Run attention on the meta device as fused kernels do, which keep no T x T matrix.

    PyTorch takes its unfused way there. What the kernels of CPUs and GPUs keep is the same: query,
    key, value, result and one number a row.

    Args:
        dtype: Cast the inputs to it, as autocast does; None leaves them.
    """

    def attend(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
    ) -> Tensor:
        if dtype is not None:
            query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
            attn_mask = None if attn_mask is None else attn_mask.to(dtype)
        out: Tensor = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
        )[0]
        return out

    # Not a mode for functions, which would not reach what the backward pass computes again.
    with patch.object(F, "scaled_dot_product_attention", attend):
        yield


class Lowered(TorchFunctionMode):
    """Casts the inputs of products to `dtype`, as autocast does, which ignores the meta device.

    Weights are cast once for each use of the mode, as autocast's cache does.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        """Cast to `dtype`."""
        super().__init__()
        self._dtype = dtype
        self._weights: dict[nn.Parameter, Tensor] = {}

    @override
    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if func in _LOWERED:
            args, kwargs = tree_map(self._cast, (tuple(args), dict(kwargs)))
        elif func is F.layer_norm:  # autocast runs it in full precision
            args = tree_map(_raised, tuple(args))
        return func(*args, **kwargs)

    @override
    def __exit__(self, *error: object) -> None:
        self._weights.clear()
        super().__exit__(*error)

    def _cast(self, value: object) -> object:
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            return value
        if not isinstance(value, nn.Parameter):
            return value.to(self._dtype)
        if value not in self._weights:
            self._weights[value] = value.to(self._dtype)
        return self._weights[value]


def _raised(value: object) -> object:
    if isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16):
        return value.float()
    return value
