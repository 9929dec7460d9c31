"""Checks that a zip archive is exactly what `torch.save` writes, for every reader alike."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import IO

from ..errors import InputError

_MOST_PARTS = 20_000
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")


def check_archive(path: Path, file: IO[bytes]) -> None:
    """Compare what an archive says of itself with what it is, in little memory.

    Readers differ in where they look for an archive's directory and for a part's name. In a file
    that passes they can find but one directory, which ends where the file ends, and one part of
    each name, stored as it is.

    Raises:
        InputError: If it would unpack to more than it is, a checksum is wrong, or anything stands
            elsewhere than `torch.save` puts it.
    """
    size = path.stat().st_size
    misplaced = InputError(
        f"{path} is not a whole weights file, for its parts do not stand where torch.save puts "
        "them: save it again by torch.save."
    )
    parts = _parts_declared(file, size)
    if parts is None or parts > _MOST_PARTS:
        raise misplaced
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        declared = sum(info.file_size for info in infos)
        if declared > size:
            raise InputError(
                f"{path} is refused because it would unpack to {declared:,} bytes from {size:,}: "
                "give a file as torch.save writes it, which is not compressed."
            )
        names = {info.filename.lower() for info in infos}  # PyTorch looks parts up without case
        folders = {name.partition("/")[0] for name in names}
        plain = all(
            info.compress_type == zipfile.ZIP_STORED
            and info.compress_size == info.file_size
            and not info.flag_bits & 1
            and info.filename == info.orig_filename
            and info.filename.isascii()
            for info in infos
        )
        if not plain or not len(infos) == len(names) == parts or len(folders) != 1:
            raise misplaced
        if min(info.header_offset for info in infos) != 0:
            raise misplaced
        broken = archive.testzip()
    if broken:
        raise InputError(
            f"{path} is damaged: the checksum of its part {broken} is wrong, so fetch or save it "
            "again."
        )


def _parts_declared(file: IO[bytes], size: int) -> int | None:
    """Return how many parts the directory declares; None if it is not right before the end."""
    end_at = size - _END.size
    if end_at < 0:
        return None
    sign, disks, count, count_again, length, start, comment = _end(file, end_at)
    if sign != b"PK\5\6" or disks != (0, 0) or count != count_again or comment:
        return None
    locator_at = end_at - _LOCATOR.size
    sign_64, disk, end_64_at, all_disks = _read(file, _LOCATOR, locator_at)
    directory_ends = end_at
    if sign_64 == b"PK\6\7":
        directory_ends = locator_at - _END_64.size
        if (disk, end_64_at, all_disks) != (0, directory_ends, 1):
            return None
        record = _read(file, _END_64, directory_ends)
        sign_64, record_size, _, _, disk, disk_again, count_64, again, length_64, start_64 = record
        fits = (
            sign_64 == b"PK\6\6"
            and record_size == _END_64.size - 12
            and (disk, disk_again) == (0, 0)
            and count_64 == again
            and count in (count_64, 0xFFFF)
            and length in (length_64, 0xFFFFFFFF)
            and start in (start_64, 0xFFFFFFFF)
        )
        if not fits:
            return None
        count, length, start = count_64, length_64, start_64
    return count if start + length == directory_ends else None


def _end(file: IO[bytes], at: int) -> tuple[bytes, tuple[int, int], int, int, int, int, int]:
    sign, disk, directory_disk, count, total, length, start, comment = _read(file, _END, at)
    return sign, (disk, directory_disk), count, total, length, start, comment


def _read(file: IO[bytes], layout: struct.Struct, at: int) -> tuple:
    file.seek(max(at, 0))
    return layout.unpack(file.read(layout.size).ljust(layout.size, b"\0"))
