"""Reads pickles as tensors and plain values, and makes nothing else."""

from __future__ import annotations

import pickle
import pickletools
import sys
from collections.abc import Callable, Sized
from typing import IO

import torch

from .pickled_names import Maker, Rebuild, named
from .pickled_tensors import rebuilt_tensor
from .plain_values import (
    Refusal,
    StorageKind,
    UnreadObject,
    UnreadTensor,
    check_extent,
    hashable,
)

MAGIC = 0x1950A86A20F9469CFC6C  # with which torch.save's older format starts
_MEMORY = 40 * 2**20  # bytes that a file's values may take beside its own size
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


class _Mark:
    """Marks where a pickle starts to collect."""


class PlainUnpickler:
    """Reads one pickle: tensors, numbers, texts, lists, dictionaries.

    It knows no classes but those few, calls nothing that a pickle names, and keeps account of
    what the values take.
    """

    def __init__(
        self, storage: Callable[[StorageKind, str, int], torch.UntypedStorage], file_size: int
    ) -> None:
        """Prepare to read.

        Args:
            storage: Gives the storage of a kind, by its key and count of numbers, after a check
                that the file has as many.
            file_size: Bytes of the file, which no tensor may exceed.
        """
        self._storage, self._size, self._left = storage, file_size, _MEMORY
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}

    def load(self, file: IO[bytes]) -> object:
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
        check_extent(value)
        return value

    def _spend(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise Refusal(
                f"its names and values would take more than {_MEMORY:,} bytes beside its tensors"
            )

    def _step(self, name: str, argument: object) -> None:
        stack = self._stack
        if name in _LIKE_BOOLS:
            stack.append(_LIKE_BOOLS[name])
        elif name in ("PROTO", "FRAME"):
            pass
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[_index(argument)])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[_index(argument)] = stack[-1]
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
            stack.append(frozenset(map(hashable, self._marked())))
        elif name in ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"):
            few = {"APPEND": 1, "SETITEM": 2}.get(name)
            self._fill(self._popped(few) if few else self._marked())
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            parts = str(argument).split(" ") if name == "GLOBAL" else self._popped(2)
            stack.append(named(_full_name(*parts)))
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

    def _popped(self, count: int) -> list[object]:
        if len(self._stack) < count:
            raise pickle.UnpicklingError
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def _marked(self) -> list[object]:
        """Return what was collected since the last mark."""
        start = len(self._stack) - 1
        while self._stack[start] is not _Mark:
            start -= 1
            if start < 0:
                raise pickle.UnpicklingError
        values = self._stack[start + 1 :]
        del self._stack[start:]
        return values

    def _fill(self, values: list[object]) -> None:
        """Put values into the collection on top."""
        target = self._stack[-1]
        if isinstance(target, UnreadObject):
            return
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, set):
            target.update(map(hashable, values))
        elif isinstance(target, dict):
            self._spend(100 * len(values))
            target.update(zip(map(hashable, values[::2]), values[1::2], strict=True))
        else:
            raise pickle.UnpicklingError

    def _made(self, kind: object, arguments: object) -> object:
        """Do what a call of `kind` stands for."""
        if isinstance(kind, (UnreadObject, UnreadTensor)):
            return kind
        if not isinstance(kind, (Maker, Rebuild)) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError
        self._spend(200 * sum(len(one) for one in arguments if isinstance(one, Sized)))
        if kind is Rebuild.TENSOR:
            return rebuilt_tensor(self._size, *arguments)
        if kind is Rebuild.TYPED:
            function, _, inner, _ = arguments
            return self._made(function, inner)
        return kind.make(*arguments)

    def _stored(self, identity: object) -> tuple[StorageKind, torch.UntypedStorage]:
        """Return the storage that a pickle refers to."""
        if not isinstance(identity, (tuple, list)):
            raise pickle.UnpicklingError
        word, kind, key, _, count, *view = identity
        if word != "storage" or not isinstance(kind, StorageKind) or any(view):
            raise pickle.UnpicklingError
        if not isinstance(key, str) or type(count) is not int or count < 0:
            raise pickle.UnpicklingError
        return kind, self._storage(kind, key, count)


def _index(argument: object) -> int:
    if not isinstance(argument, int):
        raise pickle.UnpicklingError
    return int(argument)


def _full_name(module: object, name: object) -> str:
    if not isinstance(module, str) or not isinstance(name, str):
        raise pickle.UnpicklingError
    return f"{module}.{name}"
