"""Writes files atomically, and shortens names that are too long for one."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError

# How C++ libraries say that a file cannot grow, without the system's reason.
_NO_ROOM = r"inline_container\.cc|iostream error|[Uu]nexpected pos|I/O error: .*os error"
_ABANDONED = 86400.0  # seconds, after which a process has not been killed but is gone


def file_path(path: object) -> Path:
    """Return a path that was given, with the home folder for `~`.

    Raises:
        InputError: If it is none.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"{repr(path)[:60]} names no file: give a path, as 'student.ckpt'.")
    return Path(path).expanduser()


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Offer a place to write to; the file there becomes `path` when the block ends well.

    If it fails, or the process is killed, what was at `path` before stays as it was. A device or a
    pipe is written to as it is. Folders are made.

    Args:
        path: Of the file; a link is followed.

    Raises:
        InputError: If `path` is none.
        OSError: With `path` as its file's name, if there is no room, or no right to write.
    """
    place = Path(os.path.realpath(file_path(path)))
    with naming(path):
        if place.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if place.exists() and not place.is_file():
            yield place
            return
        folder = _folder_beside(place, path)
        try:
            partial = folder / place.name
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(place)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Name `path` in what the system or a library says of a file that cannot be written."""
    try:
        yield
    except OSError as error:
        elsewhere = error.filename is not None and ".partial" not in str(error.filename)
        if error.errno is None or elsewhere:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    except Exception as error:
        reason = error.__context__
        if isinstance(reason, OSError) and reason.errno:  # torch.save hides it behind its own
            raise OSError(reason.errno, os.strerror(reason.errno), str(path)) from error
        if re.search(_NO_ROOM, str(error)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def _folder_beside(place: Path, path: str | Path) -> Path:
    """Make a folder to write `place` in, which was given as `path`."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(place)
        ending = f".{os.getpid()}.partial"
        return Path(tempfile.mkdtemp(ending, _prefix(place), place.parent))
    except FileNotFoundError as error:  # as /proc says that it takes no files
        raise PermissionError(errno.EPERM, "Nothing can be made there", str(path)) from error


def _prefix(place: Path) -> str:
    return f".{place.name[:40]}."  # a name has 255 bytes


def _remove_abandoned(place: Path) -> None:
    """Remove what a process that was killed amid a write has left."""
    for folder in place.parent.glob(".*.partial"):
        if folder.name.startswith(_prefix(place)) and folder.is_dir():
            try:
                abandoned = time.time() - folder.stat().st_mtime > _ABANDONED
            except OSError:
                continue
            if abandoned:
                shutil.rmtree(folder, ignore_errors=True)


def shortened(name: str, longest: int) -> str:
    """`name`, or where it is longer than `longest` bytes of UTF-8 its beginning and a digest."""
    if len(name.encode(errors="replace")) <= longest:
        return name
    return f"{beginning(name, longest - 9)}-{digest(name)}"


def beginning(name: str, longest: int) -> str:
    """Return as much of `name` as fits into `longest` bytes of UTF-8."""
    return name.encode(errors="replace")[:longest].decode(errors="ignore")


def digest(text: str) -> str:
    """Return eight hexadecimal digits that tell `text` from other texts."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:8]


def digest_of(file: Path) -> str:
    """Return hexadecimal digits that tell the content of `file` from others."""
    known = hashlib.blake2b(digest_size=16)
    with file.open("rb") as opened:
        while part := opened.read(2**20):
            known.update(part)
    return known.hexdigest()
