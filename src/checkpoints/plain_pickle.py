"""A reader of pickles that makes tensors and plain values, and nothing else."""

from __future__ import annotations

import math
import pickle
import pickletools
import re
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

MAGIC = 0x1950A86A20F9469CFC6C  # with which torch.save's older format starts
_MEMORY = 40 * 2**20  # bytes that a file's values may take beside its own size
_MOST_NESTED, _MOST_VALUES = 100, 2_000_000
# What a value takes, in bytes, generously; texts and numbers of any length take their own besides.
_COSTS = {
    **dict.fromkeys(("EMPTY_SET", "FROZENSET", "ADDITEMS"), 256),
    **dict.fromkeys(("EMPTY_DICT", "DICT"), 256),
    **dict.fromkeys(("EMPTY_LIST", "LIST", "TUPLE"), 120),
    **dict.fromkeys(("REDUCE", "NEWOBJ", "NEWOBJ_EX"), 500),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), 120),
    "BINPERSID": 400,
}
_LIKE_BOOLS = {"NEWTRUE": True, "NEWFALSE": False, "NONE": None}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
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
_UNPLAIN = re.compile(
    r"torch\._utils\._rebuild_\w+|torch\.nested\.\w[\w.]*|torch\.distributed\.\w[\w.]*|"
    r"torch\.sparse\.\w+"
)


class Refusal(ValueError):
    """Why a file is refused, as the end of a sentence without its full stop."""


class Storage(NamedTuple):
    """A kind of storage, as a pickle names it."""

    dtype: torch.dtype

    @property
    def itemsize(self) -> int:
        """Bytes of one number."""
        return self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Opaque:
    """An object that is not made, by the name of its class; also that class itself."""

    name: str


@dataclass(frozen=True, eq=False)
class Unplain:
    """A tensor that is not made, and why, as the end of a sentence."""

    reason: str


class _Mark:
    """Where a pickle starts to collect."""


class PlainUnpickler:
    """Reads one pickle: tensors, numbers, texts, lists, dictionaries.

    It knows no classes but those few, calls nothing that a pickle names, and keeps account of
    what the values take.
    """

    def __init__(
        self, storage: Callable[[Storage, str, int], torch.UntypedStorage], file_size: int
    ) -> None:
        """Prepare to read.

        Args:
            storage: Gives the storage of a kind, by its key and count of numbers, after a check
                that the file has as many.
            file_size: Bytes of the whole file, which no tensor may exceed.
        """
        self._storage, self._size, self._left = storage, file_size, _MEMORY
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def load(self, file: IO[bytes]) -> Any:
        """Read one pickle to its end, at which `file` then stands.

        Raises:
            Refusal: If it names anything that would run code, or takes too much memory.
            Exception: Of any kind if it is damaged.
        """
        self._stack, self._memo = [], {}
        for opcode, argument, _ in pickletools.genops(file):
            self._spend(_COSTS.get(opcode.name, 64) + sys.getsizeof(argument))
            if opcode.name == "STOP":
                break
            self._step(opcode.name, argument)
        value = self._stack.pop()
        _check_extent(value)
        return value

    def _spend(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise Refusal(
                f"its names and values would take more than {_MEMORY:,} bytes beside its tensors"
            )

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _LIKE_BOOLS:
            stack.append(_LIKE_BOOLS[name])
        elif name in ("PROTO", "FRAME"):
            pass
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[int(argument)])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name == "MARK":
            stack.append(_Mark)
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            self._marked()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name in _TUPLES:
            stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
        elif name.startswith("EMPTY_"):
            stack.append({"LIST": list, "TUPLE": tuple, "DICT": dict, "SET": set}[name[6:]]())
        elif name in ("TUPLE", "LIST"):
            stack.append((tuple if name == "TUPLE" else list)(self._marked()))
        elif name == "DICT":
            items = self._marked()
            stack.append({})
            self._fill(items)
        elif name == "FROZENSET":
            stack.append(frozenset(map(_hashable, self._marked())))
        elif name in ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"):
            few = {"APPEND": 1, "SETITEM": 2}.get(name)
            self._fill(self._popped(few) if few else self._marked())
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            parts = argument.split(" ") if name == "GLOBAL" else self._popped(2)
            stack.append(self._named(".".join(parts)))
        elif name in ("REDUCE", "NEWOBJ"):
            kind, arguments = self._popped(2)
            stack.append(self._made(kind, arguments))
        elif name == "NEWOBJ_EX":
            kind, arguments, _ = self._popped(3)
            stack.append(self._made(kind, arguments))
        elif name == "BUILD":
            self._popped(1)  # nothing of ours has a state of its own
        elif name == "BINPERSID":
            stack.append(self._stored(stack.pop()))
        elif argument is not None and name not in ("PERSID", "INST", "EXT1", "EXT2", "EXT4"):
            stack.append(argument)  # a number or a text
        else:
            raise Refusal(f"it holds the instruction {name}, which torch.save does not write")

    def _popped(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise pickle.UnpicklingError
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def _marked(self) -> list[Any]:
        """What was collected since the last mark."""
        start = len(self._stack) - 1
        while self._stack[start] is not _Mark:
            start -= 1
            if start < 0:
                raise pickle.UnpicklingError
        values = self._stack[start + 1 :]
        del self._stack[start:]
        return values

    def _fill(self, values: list[Any]) -> None:
        """Put values into the collection on top."""
        target = self._stack[-1]
        if isinstance(target, Opaque):
            return
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, set):
            target.update(map(_hashable, values))
        elif isinstance(target, dict):
            self._spend(100 * len(values))
            target.update(zip(map(_hashable, values[::2]), values[1::2], strict=True))
        else:
            raise pickle.UnpicklingError

    def _named(self, name: str) -> Any:
        """What stands for a class or function of this name."""
        storage = re.fullmatch(r"torch\.(?:cuda\.|storage\.)?(\w+)Storage", name)
        if storage and storage[1] in _STORAGES:
            return Storage(_STORAGES[storage[1]])
        dtype = getattr(torch, name.removeprefix("torch."), None)
        if name.startswith("torch.") and isinstance(dtype, torch.dtype):
            return dtype
        if name in _MAKERS:
            return _MAKERS[name]
        if _UNPLAIN.fullmatch(name):
            return Unplain("in a form without plain values (sparse, quantized, nested, meta)")
        if _HARMLESS.fullmatch(name):
            return Opaque(name)
        raise Refusal(
            f"reading it would run code that it names, {name[:100]}: give a file that holds "
            "tensors only, as torch.save(model.state_dict(), path) writes"
        )

    def _made(self, kind: Any, arguments: Any) -> Any:
        if isinstance(kind, (Opaque, Unplain)):
            return kind
        if kind not in _FUNCTIONS or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError
        self._spend(200 * sum(len(one) for one in arguments if hasattr(one, "__len__")))
        if kind is _rebuild:
            return self._tensor(*arguments)
        if kind is _rebuild_typed:
            function, _, inner, _ = arguments
            return self._made(function, inner)
        return kind(*arguments)

    def _tensor(
        self,
        storage: Any,
        offset: int,
        size: tuple[int, ...],
        stride: tuple[int, ...],
        requires_grad: bool = False,
        hooks: Any = None,
        dtype: Any = None,
        metadata: Any = None,
    ) -> Tensor | Unplain:
        kind, content = storage
        if not isinstance(dtype, torch.dtype):
            dtype, metadata = kind.dtype, dtype or metadata
        if metadata:
            return Unplain("conjugated or negated when it is read")
        numbers = [offset, *size, *stride]
        if not all(type(n) is int and n >= 0 for n in numbers) or len(size) != len(stride):
            raise pickle.UnpicklingError
        if math.prod(size) * dtype.itemsize > self._size:
            return Unplain(
                f"as {tuple(size)}, which is more than the file's {self._size:,} bytes can hold"
            )
        last = sum((side - 1) * step for side, step in zip(size, stride, strict=True))
        if 0 not in size and (offset + last + 1) * dtype.itemsize > content.nbytes():
            raise Refusal(f"a tensor of shape {tuple(size)} reaches beyond its part of the file")
        empty = torch.empty(0, dtype=dtype)
        if 0 in size:
            return empty.reshape(tuple(size))
        return empty.set_(content, offset, tuple(size), tuple(stride))

    def _stored(self, identity: Any) -> Any:
        """The storage that a pickle refers to."""
        word, kind, key, _, count, *view = identity
        if word != "storage" or not isinstance(kind, Storage) or any(view):
            raise pickle.UnpicklingError
        if not isinstance(key, str) or type(count) is not int or count < 0:
            raise pickle.UnpicklingError
        return kind, self._storage(kind, key, count)


def _rebuild(*arguments: Any) -> Any:
    """Stand for PyTorch's functions that make a tensor of a storage."""


def _rebuild_typed(*arguments: Any) -> Any:
    """Stand for PyTorch's function that makes a tensor with attributes."""


def _parameter(data: Any = None, *rest: Any) -> Any:
    """Return the tensor that a parameter is."""
    return data


def _ordered(pairs: Iterable[Any] = ()) -> dict[Any, Any]:
    """Make an ordered dictionary as a plain one, which is ordered too."""
    return OrderedDict((_hashable(key), value) for key, value in pairs)


def _counter(counts: dict[Any, Any] | None = None) -> Counter[Any]:
    if not isinstance(counts or {}, dict):
        raise pickle.UnpicklingError
    return Counter(counts)


def _defaults(*factory: Any) -> dict[Any, Any]:
    """Make a dictionary with defaults as a plain one."""
    return {}


def _set(values: Iterable[Any] = ()) -> set[Any]:
    return set(map(_hashable, values))


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    """Make bytes of a text, as pickles of before Python 3 write them."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError
    return text.encode("latin1")


def _size(sides: tuple[int, ...] = ()) -> tuple[int, ...]:
    if not isinstance(sides, (tuple, list)):
        raise pickle.UnpicklingError
    return torch.Size(sides)


def _device(kind: str, index: int | None = None) -> torch.device:
    return torch.device(kind) if index is None else torch.device(kind, index)


def _complex(real: float, imaginary: float) -> complex:
    return complex(real, imaginary)


_MAKERS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "collections.Counter": _counter,
    "collections.defaultdict": _defaults,
    "torch._utils._rebuild_tensor": _rebuild,
    "torch._utils._rebuild_tensor_v2": _rebuild,
    "torch._utils._rebuild_tensor_v3": _rebuild,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.nn.parameter.Buffer": _parameter,
    "torch._tensor._rebuild_from_type_v2": _rebuild_typed,
    "torch.Size": _size,
    "torch.device": _device,
    "_codecs.encode": _encoded,
    **{f"{module}.set": _set for module in ("builtins", "__builtin__")},
    **{f"{module}.complex": _complex for module in ("builtins", "__builtin__")},
}

_FUNCTIONS = frozenset(_MAKERS.values())


def _hashable(key: Any, nested: bool = False) -> Any:
    """A key, if its hash is found at once: a plain value, or a tuple of such."""
    if isinstance(key, tuple) and not nested:
        return tuple(_hashable(one, nested=True) for one in key)
    if isinstance(key, int) and key.bit_length() > 63:
        raise pickle.UnpicklingError
    plain = str, int, float, bytes, type(None), Opaque, torch.dtype, torch.device, Storage
    if not isinstance(key, plain):
        raise pickle.UnpicklingError
    return key


def _check_extent(value: Any) -> None:
    """Refuse values that hold themselves, or the same again and again: they are endless to walk."""
    count = 0
    walk = [iter((value,))]
    while walk:
        for one in walk[-1]:
            count += 1
            if count > _MOST_VALUES or len(walk) > _MOST_NESTED:
                raise Refusal("its values are nested without end")
            if isinstance(one, dict):
                walk.append(iter(one.values()))
                break
            if isinstance(one, (list, tuple, set, frozenset)):
                walk.append(iter(one))
                break
        else:
            walk.pop()
