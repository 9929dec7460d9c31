"""Reads files of tensors and plain values without running code or trusting their sizes.

What `torch.save` writes is read by ourselves: PyTorch's reader looks up parts of an archive in its
own way, believes the sizes that a file declares, and refuses harmless values. Relied on is the
layout of an archive (`<name>/data.pkl`, `<name>/data/<key>`, `<name>/byteorder`), that of the
older format, and the names under which tensors are pickled, the same from PyTorch 1.0 to 2.15.
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import torch
from safetensors.torch import load_file

from ..errors import InputError
from ..files import file_path
from .archives import check_archive
from .plain_pickle import MAGIC, PlainUnpickler
from .plain_values import Refusal, StorageKind

_MOST_PICKLED = 16 * 2**20  # bytes of names and values beside the tensors; ours have under one MB
_MOST_HEADER = 2 * 2**20  # bytes that say what a .safetensors file holds
_CHUNK = 2**20


def read_file(path: str | Path) -> dict[str, object]:
    """Read a checkpoint as tensors and plain values, in no more memory than about its own size.

    The content tells its format, not the name. Objects of known harmless libraries (NumPy,
    OmegaConf, paths, dates) are read as an `UnreadObject` each, without their content.

    Args:
        path: A `.safetensors` file, or one written by `torch.save` (`.pth`, `.pt`, `.ckpt`, ...).

    Raises:
        InputError: If the file is missing, damaged, larger inside than outside, or would have to
            run code to be read.
    """
    path = file_path(path)
    if not path.is_file():
        raise InputError(f"There is no weights file {path}: give a .safetensors, .pth or .ckpt.")
    content: object
    try:
        with path.open("rb") as file:
            start = file.read(9)
            file.seek(0)
            if start[8:] == b"{" or path.suffix == ".safetensors":
                content = _from_safetensors(path, start)
            elif start.startswith(b"PK\3\4"):
                content = _from_archive(path, file)
            elif start.startswith(pickle.PROTO):
                content = _from_older_format(path, file)
            else:
                raise _damaged(path)
    except Refusal as reason:
        raise InputError(f"{path} is refused because {reason}.") from reason
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # the readers of a damaged file raise whatever they like
        raise _damaged(path) from error
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds a {type(content).__name__}, not named weights: give a state_dict."
        )
    return dict(content)


def _damaged(path: Path) -> InputError:
    if path.suffix == ".onnx":
        return InputError(
            f"{path} is a network of ONNX, which only predict.py takes: give a .ckpt, .pth or "
            ".safetensors."
        )
    return InputError(f"{path} is not a whole weights file (truncated or of another format).")


def _from_safetensors(path: Path, start: bytes) -> Mapping[str, object]:
    (header,) = struct.unpack("<Q", start[:8])
    if header > min(_MOST_HEADER, path.stat().st_size):
        raise _damaged(path)
    content: Mapping[str, object] = load_file(path)
    return content


def _from_archive(path: Path, file: IO[bytes]) -> object:
    check_archive(path, file)
    with zipfile.ZipFile(file) as archive:
        sizes = {part.filename: part.file_size for part in archive.infolist()}
        name = next(iter(sizes)).partition("/")[0]
        if f"{name}/constants.pkl" in sizes or f"{name}/data.pkl" not in sizes:
            raise _damaged(path)  # TorchScript, or no file of PyTorch's at all
        _check_pickled(sizes[f"{name}/data.pkl"])
        pickled = archive.read(f"{name}/data.pkl")
        order = archive.read(f"{name}/byteorder") if f"{name}/byteorder" in sizes else b"little"
        read: dict[str, torch.UntypedStorage] = {}

        def storage(kind: StorageKind, key: str, count: int) -> torch.UntypedStorage:
            declared, part = count * kind.itemsize, f"{name}/data/{key}"
            if sizes.get(part) != declared:
                raise Refusal(
                    f"it declares {declared:,} bytes for its part {part}, which has "
                    f"{sizes.get(part, 0):,}"
                )
            if key not in read:
                read[key] = torch.UntypedStorage(declared)
                with archive.open(part) as source:
                    _fill(read[key], source)
                if order.decode() != sys.byteorder:
                    read[key].byteswap(kind.dtype)
            return read[key]

        return PlainUnpickler(storage, path.stat().st_size).load(io.BytesIO(pickled))


def _from_older_format(path: Path, file: IO[bytes]) -> object:
    """Read five pickles (magic, protocol, system, content, keys), then storages in that order."""
    size = path.stat().st_size
    storages: dict[str, tuple[StorageKind, int, torch.UntypedStorage]] = {}

    def storage(kind: StorageKind, key: str, count: int) -> torch.UntypedStorage:
        if key not in storages:
            total = count * kind.itemsize + sum(made.nbytes() for _, _, made in storages.values())
            if total > size:
                raise Refusal(f"it declares {total:,} bytes of tensors, and is of {size:,} itself")
            storages[key] = kind, count, torch.UntypedStorage(count * kind.itemsize)
        known, numbers, made = storages[key]
        if (known, numbers) != (kind, count):
            raise Refusal(f"it declares its part {key} in two ways")
        return made

    unpickler = PlainUnpickler(storage, size)

    def following() -> object:
        start = file.tell()
        left = io.BytesIO(file.read(_MOST_PICKLED))
        value = unpickler.load(left)
        file.seek(start + left.tell())
        return value

    if following() != MAGIC:
        raise _damaged(path)  # a plain pickle, not of torch.save
    following(), following()
    content, keys = following(), following()
    if not isinstance(keys, list) or sorted(keys) != sorted(storages):
        raise _damaged(path)
    for key in keys:
        _, count, made = storages[key]
        if struct.unpack("<q", file.read(8)) != (count,):
            raise _damaged(path)
        _fill(made, file)
    return content


def _fill(storage: torch.UntypedStorage, source: IO[bytes]) -> None:
    """Read a storage's bytes in pieces, so that they are never in memory twice."""
    if not storage.nbytes():
        return
    target = torch.tensor([], dtype=torch.uint8).set_(storage).numpy()
    for start in range(0, len(target), _CHUNK):
        piece = source.read(min(_CHUNK, len(target) - start))
        target[start : start + len(piece)] = memoryview(piece)
        if len(piece) < min(_CHUNK, len(target) - start):
            raise EOFError


def _check_pickled(size: int) -> None:
    if size > _MOST_PICKLED:
        raise Refusal(
            f"its names and values beside the tensors take {size:,} bytes, and up to "
            f"{_MOST_PICKLED:,} are read"
        )
