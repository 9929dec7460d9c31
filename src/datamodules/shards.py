"""Reads the samples of shards: tar files in webdataset's layout.

webdataset would run a shard that is called `pipe:...` in a shell; here a shard is a regular file.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from .decoding import check_regular, reason

_MOST_BYTES = {"image": 500_000_000, "label": 10_000_000}  # of one member


class Sample(NamedTuple):
    """Holds the members of one image by their suffixes; `name` says shard and sample."""

    name: str
    members: dict[str, tarfile.TarInfo]
    shard: tarfile.TarFile

    def read(self, suffix: str, kind: str) -> bytes:
        """Return the content of a member.

        Raises:
            InputError: If it is larger than any of its kind.
        """
        member = self.members[suffix]
        if member.size > _MOST_BYTES[kind]:
            raise InputError(
                f"{self.name}.{suffix} has {member.size:,} bytes, more than the "
                f"{_MOST_BYTES[kind]:,} of any {kind}: remove it from its shard."
            )
        file = self.shard.extractfile(member)
        assert file is not None  # only regular members are listed
        return file.read()


def samples_of(file: Path) -> Iterator[Sample]:
    """Yield the samples of a shard: neighbouring members whose names agree up to the first dot.

    Raises:
        InputError: If it is no complete tar file.
    """
    try:
        check_regular(file)
        with tarfile.open(file) as shard:
            sample: Sample | None = None
            for member in shard:
                shard.members = []  # type: ignore[attr-defined]  # else it remembers all of them
                key, suffix = _split(member.name)
                if not member.isreg() or not suffix:
                    continue
                name = f"{file}: {key}"
                if sample is None or sample.name != name:
                    if sample:
                        yield sample
                    sample = Sample(name, {}, shard)
                sample.members[suffix] = member
            if sample:
                yield sample
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{file} cannot be read as a shard ({reason(error)}): give a complete tar file."
        ) from error


def count_samples(files: Sequence[Path]) -> int:
    """Count the samples of shards by their headers."""
    return sum(1 for file in files for _ in samples_of(file))


def _split(name: str) -> tuple[str, str]:
    """Return a member's key and suffix; no suffix for hidden files and webdataset's own."""
    folder, _, file = name.rpartition("/")
    key, _, suffix = file.partition(".")
    if not key or re.fullmatch("__.*__", file):
        return "", ""
    return f"{folder}/{key}" if folder else key, suffix.lower()
