"""Reads the samples of shards, which are tar files in webdataset's layout.

webdataset runs a shard that is called `pipe:...` in a shell; here a shard must be a regular file.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from .decoding import check_regular, reason

_MOST_BYTES = {"image": 500_000_000, "label": 10_000_000}  # most bytes of a member, by its kind


class Member(NamedTuple):
    """Holds where a member's content starts in its shard, and how long it is, in bytes."""

    offset: int
    size: int


class Sample(NamedTuple):
    """Holds the members of one image by their suffixes; `name` is that of shard and sample."""

    name: str
    members: dict[str, Member]

    def read(self, file: Path, suffix: str, kind: str) -> bytes:
        """Return the content of a member.

        Args:
            file: The shard, or a copy of it.
            suffix: The member's suffix.
            kind: "image" or "label".

        Raises:
            InputError: If it is larger than any image or label may be.
        """
        offset, size = self.members[suffix]
        if size > _MOST_BYTES[kind]:
            raise InputError(
                f"{self.name}.{suffix} has {size:,} bytes, more than the "
                f"{_MOST_BYTES[kind]:,} of any {kind}: remove it from its shard."
            )
        with file.open("rb") as shard:
            shard.seek(offset)
            return shard.read(size)


def samples_of(file: Path, name: str | None = None) -> Iterator[Sample]:
    """Yield the samples of a shard: neighboring members whose names agree up to the first dot.

    Args:
        file: The shard.
        name: Its name in messages; None for its path.

    Raises:
        InputError: If it is not a complete tar file.
    """
    called = name or str(file)
    try:
        check_regular(file)
        with tarfile.open(file, "r:") as shard:
            sample: Sample | None = None
            for member in shard:
                shard.members = []  # type: ignore[attr-defined]  # or it would keep all of them
                key, suffix = _split(member.name)
                if not member.isreg() or member.issparse() or not suffix:
                    continue
                full = f"{called}: {key}"
                if sample is None or sample.name != full:
                    if sample:
                        yield sample
                    sample = Sample(full, {})
                sample.members[suffix] = Member(member.offset_data, member.size)
            if sample:
                yield sample
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{called} cannot be read as a shard ({reason(error)}): give a complete tar file."
        ) from error


def _split(name: str) -> tuple[str, str]:
    """Return a member's key and suffix; no suffix for hidden files and webdataset's own."""
    folder, _, file = name.rpartition("/")
    key, _, suffix = file.partition(".")
    if not key or re.fullmatch("__.*__", file):
        return "", ""
    return f"{folder}/{key}" if folder else key, suffix.lower()
