"""Masks of few bits hold what is stored, which Pillow stretches to the range of 8."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from src.datamodules.masks import read_pixels


def gray(path: Path, bits: int, width: int, row: bytes) -> Path:
    """Write a png of one row of gray samples."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, 1, bits, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    return path


@pytest.mark.parametrize(
    ("bits", "row", "values"),
    [
        (1, [0b01000000], [0, 1, 0, 0]),
        (2, [0b00011011], [0, 1, 2, 3]),
        (4, [0x01, 0x9F], [0, 1, 9, 15]),
        (8, [0, 85, 17, 255], [0, 85, 17, 255]),
        (16, [1, 0, 0, 17, 0, 0, 0, 255], [256, 17, 0, 255]),
    ],
)
def test_values_are_those_of_the_file(
    tmp_path: Path, bits: int, row: list[int], values: list[int]
) -> None:
    pixels = read_pixels(gray(tmp_path / "mask.png", bits, 4, bytes(row)))
    assert pixels.astype(int).tolist() == [values]
