"""Rebuilds tensors of a pickle from their storages, none larger than its file."""

from __future__ import annotations

import math
import pickle

import torch
from torch import Tensor

from .plain_values import Refusal, StorageKind, UnreadTensor


def rebuilt_tensor(
    file_size: int,
    storage: object,
    offset: object,
    size: object,
    stride: object,
    requires_grad: object = False,
    hooks: object = None,
    dtype: object = None,
    metadata: object = None,
) -> Tensor | UnreadTensor:
    """Make a tensor of what PyTorch's `_rebuild_tensor`, `_v2` or `_v3` is called with.

    Args:
        file_size: Bytes of the file, which the tensor may not exceed.
        storage: A pair of its kind and content.
        offset: Numbers in the storage before the tensor's first.
        size: Sides.
        stride: Steps in the storage along each side.
        requires_grad: Not heeded.
        hooks: Not heeded.
        dtype: Of the third version; in the second one its metadata stands here.
        metadata: Of a conjugated or negated tensor.

    Raises:
        Refusal: If it reaches beyond its storage.
        pickle.UnpicklingError: If these are not what PyTorch writes.
    """
    kind, content = _pair(storage)
    if not isinstance(dtype, torch.dtype):
        dtype, metadata = kind.dtype, dtype or metadata
    if metadata:
        return UnreadTensor("conjugated or negated when it is read")
    (start,), sides, steps = _numbers((offset,)), _numbers(size), _numbers(stride)
    if len(sides) != len(steps):
        raise pickle.UnpicklingError
    if math.prod(sides) * dtype.itemsize > file_size:
        return UnreadTensor(
            f"as {sides}, which is more than the file's {file_size:,} bytes can hold"
        )
    last = sum((side - 1) * step for side, step in zip(sides, steps, strict=True))
    if 0 not in sides and (start + last + 1) * dtype.itemsize > content.nbytes():
        raise Refusal(f"a tensor of shape {sides} reaches beyond its part of the file")
    empty = torch.empty(0, dtype=dtype)
    return empty.reshape(sides) if 0 in sides else empty.set_(content, start, sides, steps)


def _pair(storage: object) -> tuple[StorageKind, torch.UntypedStorage]:
    if not isinstance(storage, tuple) or len(storage) != 2:
        raise pickle.UnpicklingError
    kind, content = storage
    if not isinstance(kind, StorageKind) or not isinstance(content, torch.UntypedStorage):
        raise pickle.UnpicklingError
    return kind, content


def _numbers(values: object) -> tuple[int, ...]:
    """Return `values` as whole numbers from 0; refuse other types."""
    if not isinstance(values, (tuple, list)) or any(type(n) is not int or n < 0 for n in values):
        raise pickle.UnpicklingError
    return tuple(values)
