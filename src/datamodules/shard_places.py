"""Gives access to shards: in a folder of this machine, or in object storage through copies."""

from __future__ import annotations

import os
import re
import shutil
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from ..errors import InputError, one_sentence
from ..files import atomic_file, digest

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
_SPARE = 0.05  # share of the disk that copies leave free


class ShardPlace(ABC):
    """Finds files below a root by name, and returns each as a file of this machine."""

    def __init__(self, root: str) -> None:
        self.root = root

    @abstractmethod
    def has(self, name: str) -> bool:
        """Return whether there is a file of this name."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Return the size in bytes of a file that exists."""

    @abstractmethod
    def local(self, name: str) -> Path:
        """Return a file to read; in object storage it is copied first.

        Raises:
            InputError: If it cannot be fetched.
        """

    def shown(self, name: str) -> str:
        """Return the name of a file in messages."""
        return f"{self.root.rstrip('/')}/{name}"


class LocalFolder(ShardPlace):
    """Returns the files of a folder themselves."""

    @override
    def has(self, name: str) -> bool:
        return (Path(self.root) / name).is_file()

    @override
    def size(self, name: str) -> int:
        return (Path(self.root) / name).stat().st_size

    @override
    def local(self, name: str) -> Path:
        return Path(self.root) / name


class Bucket(ShardPlace):
    """Copies the objects below an address, as `s3://bucket/folder`, when they are first read.

    Credentials and endpoint come from the service's own environment variables and files. Copies are
    in `$XDG_CACHE_HOME/tokenthrift/shards` or `~/.cache/tokenthrift/shards`, by address and
    version, and serve all processes of a machine. When the disk gets full, the copies that have not
    been read for the longest time are removed.
    """

    def __init__(self, root: str) -> None:
        """List the objects.

        Raises:
            InputError: If the service, the bucket or the folder cannot be listed.
        """
        super().__init__(root.rstrip("/"))
        files, path = self._connected()
        try:
            found = files.find(path, detail=True)
        except Exception as error:  # the service's client raises many kinds
            raise self._refused(error) from error
        if not found:
            raise InputError(
                f"datamodule.root={root} holds nothing: give the address of a folder of shards, as "
                "s3://bucket/folder, in a bucket that exists."
            )
        prefix = files._strip_protocol(path).rstrip("/") + "/"
        self._objects = {
            key.removeprefix(prefix): (int(facts["size"]), str(facts.get("ETag", "")))
            for key, facts in found.items()
        }

    @override
    def has(self, name: str) -> bool:
        return name in self._objects

    @override
    def size(self, name: str) -> int:
        return self._objects[name][0]

    def local(self, name: str) -> Path:
        """Return a copy of an object, made by one process at a time."""
        from filelock import FileLock

        size, version = self._objects[name]
        folder = _cache() / digest(self.root)
        copy = folder / f"{digest(f'{name} {version}')}-{Path(name).name}"
        if not copy.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(copy.with_name(f".{copy.name}.lock")):
                if not copy.exists():
                    _make_room(size)
                    self._fetch(name, copy, size)
        with suppress(OSError):
            os.utime(copy)  # marks it as the last one read
        return copy

    def _fetch(self, name: str, copy: Path, size: int) -> None:
        files, path = self._connected()
        with atomic_file(copy) as partial:
            try:
                files.get_file(f"{path}/{name}", str(partial))
            except Exception as error:  # the service's client raises many kinds
                raise self._refused(error, name) from error
            found = partial.stat().st_size
            if found != size:
                raise InputError(
                    f"{self.shown(name)} came with {found:,} of {size:,} bytes: try again, and "
                    "write the shard anew if it happens again."
                )

    def _connected(self) -> tuple[AbstractFileSystem, str]:
        from fsspec.core import url_to_fs

        try:
            # Forked workers need connections of their own, and listings that are not cached.
            files, path = url_to_fs(self.root, skip_instance_cache=True, use_listings_cache=False)
        except ImportError as error:
            kind = self.root.partition("://")[0]
            package = _PACKAGES.get(kind, f"fsspec's package for {kind}")
            raise InputError(
                f"datamodule.root={self.root} needs a package: pip install {package}."
            ) from error
        except ValueError as error:
            raise self._refused(error) from error
        return files, path

    def _refused(self, error: Exception, name: str | None = None) -> InputError:
        place = self.shown(name) if name else f"datamodule.root={self.root}"
        said = str(error) or (str(error.__cause__) if error.__cause__ else type(error).__name__)
        return InputError(
            f"{place} cannot be read ({one_sentence(said).rstrip('.')}): check the address, that "
            "the bucket exists, and the service's credentials and endpoint."
        )


def shard_place(root: str) -> ShardPlace:
    """Return the place that `root` names: an address such as `s3://bucket/folder`, or a folder."""
    return Bucket(root) if is_address(root) else LocalFolder(root)


def is_address(root: str) -> bool:
    """Return whether `root` is an address, and not a folder of this machine."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", root) is not None


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "tokenthrift" / "shards"


def _make_room(size: int) -> None:
    """Remove copies, the least recently read first, until `size` bytes fit on the disk."""
    disk = shutil.disk_usage(_cache())
    missing = size + _SPARE * disk.total - disk.free
    if missing <= 0:
        return
    for copy in sorted(_cache().glob("*/[!.]*"), key=lambda path: path.stat().st_mtime):
        missing -= copy.stat().st_size
        copy.unlink(missing_ok=True)
        if missing <= 0:
            return
