"""Decodes photographs of every source by one rule: to 8-bit RGB of a bounded size."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError, features

from ..errors import one_sentence

# Formats of photographs, whatever their suffixes. Pillow reads more, but to read one of them (EPS)
# it runs a program that interprets the file.
FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
if "avif" in features.modules and features.check_module("avif"):
    FORMATS += ("AVIF",)
SUFFIXES = tuple(
    sorted(suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS)
)
MOST_PIXELS = 100_000_000  # 300 MB in memory
# Longer over shorter side. Evaluation resizes the shorter side to the network's input; up to 577
# pixels the resized image then has no more than MOST_PIXELS either.
MOST_STRETCHED = 300

_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")  # modes of more than 8 bits
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # two tags of TIFF, and a value


def check_regular(path: str | os.PathLike[str]) -> None:
    """Check that `path` is a regular file; reading a pipe or a device would never end.

    Raises:
        OSError: If there is nothing.
        ValueError: If it is something else.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise ValueError(f"it is {kind_of(mode)}, not a regular file")


def kind_of(mode: int) -> str:
    """Return in words the kind of an entry of the file system that is not a regular file."""
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def open_image(file: str | os.PathLike[str] | BinaryIO) -> Image.Image:
    """Read an image's header, and no more.

    Args:
        file: A path, or an open file.

    Raises:
        ValueError: If it is not a regular file, or declares a size that no photograph has.
        UnidentifiedImageError: If it is in none of `FORMATS`.
    """
    if isinstance(file, (str, os.PathLike)):
        check_regular(file)
    image = Image.open(file, formats=FORMATS)
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width} x {height} pixels, more than a photograph has")
    if max(width, height) > MOST_STRETCHED * min(width, height):
        raise ValueError(
            f"{width} x {height} pixels, and one side may be up to {MOST_STRETCHED} times the other"
        )
    return image


def decode_rgb(image: Image.Image, *, upright: bool = False) -> Image.Image:
    """Return the first frame of `image` as 8-bit RGB.

    - Transparent pixels show a white ground, not the colors that the file hides there.
    - Values of 16 bits are scaled by 1/257 and those of a 12-bit TIFF by 1/16.06; whole numbers of
      32 bits are treated like 16.
    - Floats up to 1 are scaled by 255; floats up to 255 are not scaled.

    The scale is the same for all images of a kind, and opaque images of 8 bits come out as in timm.

    Args:
        image: As `open_image` returns it.
        upright: Turn it as its EXIF orientation says; timm and torchvision do not.

    Raises:
        ValueError: If numbers of more than 8 bits are outside of these ranges. Decoders may raise
            other errors.
    """
    most = 4095 if _bits(image) == 12 else 65535
    inverted = image.mode != "F" and _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO
    image.load()
    if upright:
        image = ImageOps.exif_transpose(image)
    if image.mode in _DEEP:
        shown = _eight_bits(image, most)
        image = Image.fromarray(255 - shown if inverted else shown)
    elif is_transparent(image):
        colors = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), colors)
    return image.convert("RGB")


def is_transparent(image: Image.Image) -> bool:
    """Return whether `image` may have transparent pixels, by its header."""
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


def is_nearly_black(image: Image.Image) -> bool:
    """Return whether an image of 16 bits has only values of 12 bits, without declaring 12 bits."""
    if image.mode not in _DEEP or image.mode == "F" or _bits(image) == 12:
        return False
    return 0 < int(np.asarray(image).max()) < 4096


def reason(error: Exception) -> str:
    """Return in a few words why an image cannot be read."""
    if isinstance(error, UnidentifiedImageError):
        return f"no image format among {' '.join(FORMATS)}"
    return one_sentence(str(error) or type(error).__name__).rstrip(".")


def _tag(image: Image.Image, number: int) -> int | tuple[int, ...] | None:
    return getattr(image, "tag_v2", {}).get(number)


def _bits(image: Image.Image) -> int | None:
    """Return the bits per sample that a TIFF declares, else None."""
    bits = _tag(image, _BITS_PER_SAMPLE)
    return bits[0] if isinstance(bits, tuple) else bits


def _eight_bits(image: Image.Image, most: int) -> npt.NDArray[np.uint8]:
    """Scale gray values of more than 8 bits, `(H, W)`, to 8 by a rule that is the same for all."""
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if image.mode == "F":
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError("its floats are not all finite")
        if low < 0 or high > 255:
            raise ValueError(
                f"its floats reach from {low:g} to {high:g}, and only 0 to 1 or 0 to 255 have a "
                "known meaning, so save it with 8 bits"
            )
        return np.rint(values * (255 if high <= 1 else 1)).astype(np.uint8)
    if low < 0 or high > 65535:
        raise ValueError(
            f"its numbers reach from {low} to {high}, and only 0 to 65535 have a known meaning, so "
            "save it with 8 or 16 bits"
        )
    # Rounded, in whole numbers: 65535 becomes 255 and 257 becomes 1.
    shown = (np.minimum(values, most).astype(np.uint32) * 510 + most) // (2 * most)
    hidden = image.info.get("transparency")
    if isinstance(hidden, int):
        shown[values == hidden] = 255
    return shown.astype(np.uint8)
