"""Finds the mask of each image in two trees of the same subfolders."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import InputError, some
from .decoding import SUFFIXES
from .fields import shown

log = logging.getLogger(__name__)

# Formats that keep every value; Pillow writes GIF with the values numbered anew.
MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")


def find_pairs(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    """Return each image with its mask, in the order of their paths.

    The mask of `x.jpg` is `x.png` or `x.jpg.png` in the same subfolder, in any lossless format.

    Args:
        images: Folder of images; files whose names begin with a dot are skipped.
        masks: Folder of masks; files whose names begin with a dot are skipped.

    Raises:
        InputError: If there is no image, or not exactly one mask for each.
    """
    everything = list(_files_below(images))
    files = sorted(path for path in everything if path.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{images} holds no images ({' '.join(SUFFIXES)}).")
    _say(len(everything) - len(files), f"files in {images}", set(everything) - set(files))
    drawn = list(_files_below(masks))
    by_key: dict[Path, list[Path]] = defaultdict(list)
    for mask in drawn:
        if mask.suffix.lower() in MASK_SUFFIXES:
            by_key[_key(mask.relative_to(masks).with_suffix(""))].append(mask)
    found: dict[Path, list[Path]] = {}
    for image in files:
        name = image.relative_to(images)
        found[image] = by_key[_key(name.with_suffix(""))] + by_key[_key(name)]
    _check_one_each(found, images, masks, drawn)
    taken = {mask for (mask,) in found.values()}
    unused = {path for path in drawn if path.suffix.lower() in MASK_SUFFIXES} - taken
    _say(len(unused), f"masks in {masks} have no image and", unused)
    return [(image, mask) for image, (mask,) in found.items()]


def _check_one_each(
    found: dict[Path, list[Path]], images: Path, masks: Path, drawn: Sequence[Path]
) -> None:
    alone = [image for image, own in found.items() if not own]
    if alone:
        name = alone[0].relative_to(images)
        near = [
            path.name
            for path in drawn
            if path.parent == masks / name.parent
            and path.name.lower().startswith(name.stem.lower())
        ]
        there = f"{some(sorted(near))} is there" if near else "no such name is there"
        more = f", nor have {len(alone) - 1} other images" if len(alone) > 1 else ""
        raise InputError(
            f"{alone[0]} has no mask{more}: {masks / name.with_suffix('.png')} is missing, or "
            f"{name.name}.png, or one of the suffixes {' '.join(MASK_SUFFIXES[1:])} ({there})."
        )
    owners: dict[Path, Path] = {}
    for image, own in found.items():
        if len(own) > 1:
            raise InputError(
                f"{image} has {len(own)} masks, {some(sorted(map(str, own)))}: keep one of them."
            )
        other = owners.setdefault(own[0], image)
        if other != image:
            raise InputError(
                f"{other} and {image} share the mask {own[0]}: name it {other.name}.png or "
                f"{image.name}.png, and give each its own."
            )


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, through links too; skip hidden files and folders."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = () if real in seen else sorted(n for n in folders if not n.startswith("."))
        paths = [] if real in seen else [Path(place, n) for n in names if not n.startswith(".")]
        seen.add(real)
        yield from (path for path in paths if path.is_file())  # a pipe would block


def _key(name: Path) -> Path:
    """Normalize the accents of a name, which are composed on Linux and decomposed on a Mac."""
    return Path(unicodedata.normalize("NFC", str(name)))


def _say(count: int, what: str, files: Iterable[Path]) -> None:
    if count:
        names = some(sorted(shown(path.name) for path in files))
        log.warning(f"{count} {what} are left out: {names}.")
