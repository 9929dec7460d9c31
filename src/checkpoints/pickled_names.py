"""Lists the names that a pickle may use, and what is made in their place.

No name is ever looked up but that of a dtype: a name that is not listed here refuses its file.
"""

from __future__ import annotations

import pickle
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

import torch

from .plain_values import Refusal, StorageKind, UnreadObject, UnreadTensor, hashable

_STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexDouble": torch.complex128,
    "ComplexFloat": torch.complex64,
    "Untyped": torch.uint8,
    "QInt8": torch.int8,
    "QUInt8": torch.uint8,
    "QInt32": torch.int32,
}
# Values of these are common beside weights and of no use to us, so that they need not be made.
_HARMLESS = re.compile(
    r"(numpy|pathlib|datetime|decimal|fractions|uuid|argparse|collections|typing|enum|omegaconf|"
    r"easydict|yacs|addict)(\.\w+)+|"
    r"(pytorch_lightning|lightning|lightning_fabric|mmcv|mmengine)(\.\w+)*\.(AttributeDict|"
    r"Config|ConfigDict)|"
    r"(__builtin__|builtins)\."
    r"(slice|range|bytearray|object|int|long|float|str|list|dict|tuple|bool)|"
    r"copy_?reg\._reconstructor|"
    r"torch\.(Tensor|per_\w+|serialization\._get_layout|nn\.modules\.\w+\.\w+|"
    r"_dynamo\.[\w.]+|torch_version\.TorchVersion)"
)
_UNREAD_TENSORS = re.compile(
    r"torch\._utils\._rebuild_\w+|torch\.nested\.\w[\w.]*|torch\.distributed\.\w[\w.]*|"
    r"torch\.sparse\.\w+"
)


@dataclass(frozen=True, eq=False)
class Maker:
    """Calls a function of this file in place of one that a pickle names."""

    make: Callable[..., object]


class Rebuild(Enum):
    """Lists PyTorch's functions that make a tensor; the unpickler makes it in their place."""

    TENSOR = "of a storage"
    TYPED = "of a storage, with attributes"


Named = torch.dtype | StorageKind | Maker | Rebuild | UnreadObject | UnreadTensor


def named(name: str) -> Named:
    """Return what stands for a class or function of this name.

    Raises:
        Refusal: If the name is none that is known to be harmless.
    """
    storage = re.fullmatch(r"torch\.(?:cuda\.|storage\.)?(\w+)Storage", name)
    if storage and storage[1] in _STORAGES:
        return StorageKind(_STORAGES[storage[1]])
    dtype = getattr(torch, name.removeprefix("torch."), None)
    if name.startswith("torch.") and isinstance(dtype, torch.dtype):
        return dtype
    if name in _KNOWN:
        return _KNOWN[name]
    if _UNREAD_TENSORS.fullmatch(name):
        return UnreadTensor("in a form without plain values (sparse, quantized, nested, meta)")
    if _HARMLESS.fullmatch(name):
        return UnreadObject(name)
    raise Refusal(
        f"reading it would run code that it names, {name[:100]}: give a file that holds "
        "tensors only, as torch.save(model.state_dict(), path) writes"
    )


def _parameter(data: object = None, *_: object) -> object:
    """Return the tensor that a parameter is."""
    return data


def _ordered(pairs: Iterable[tuple[object, object]] = ()) -> dict[object, object]:
    return OrderedDict((hashable(key), value) for key, value in pairs)


def _counter(counts: dict[object, int] | None = None) -> Counter[object]:
    if not isinstance(counts or {}, dict):
        raise pickle.UnpicklingError
    return Counter(counts)


def _defaults(*_: object) -> dict[object, object]:
    """Make a dictionary with defaults as a plain one."""
    return {}


def _set(values: Iterable[object] = ()) -> set[object]:
    return set(map(hashable, values))


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    """Make bytes of a text, as pickles of before Python 3 write them."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError
    return text.encode("latin1")


def _size(sides: tuple[int, ...] = ()) -> torch.Size:
    if not isinstance(sides, (tuple, list)):
        raise pickle.UnpicklingError
    return torch.Size(sides)


def _device(kind: str, index: int | None = None) -> torch.device:
    return torch.device(kind) if index is None else torch.device(kind, index)


def _complex(real: float, imaginary: float) -> complex:
    return complex(real, imaginary)


_KNOWN: dict[str, Maker | Rebuild] = {
    "collections.OrderedDict": Maker(_ordered),
    "collections.Counter": Maker(_counter),
    "collections.defaultdict": Maker(_defaults),
    "torch._utils._rebuild_tensor": Rebuild.TENSOR,
    "torch._utils._rebuild_tensor_v2": Rebuild.TENSOR,
    "torch._utils._rebuild_tensor_v3": Rebuild.TENSOR,
    "torch._utils._rebuild_parameter": Maker(_parameter),
    "torch._utils._rebuild_parameter_with_state": Maker(_parameter),
    "torch.nn.parameter.Parameter": Maker(_parameter),
    "torch.nn.parameter.Buffer": Maker(_parameter),
    "torch._tensor._rebuild_from_type_v2": Rebuild.TYPED,
    "torch.Size": Maker(_size),
    "torch.device": Maker(_device),
    "_codecs.encode": Maker(_encoded),
    **{f"{module}.set": Maker(_set) for module in ("builtins", "__builtin__")},
    **{f"{module}.complex": Maker(_complex) for module in ("builtins", "__builtin__")},
}
