"""Finds photographs without labels by folders, files, patterns and lists of paths.

Videos are found in the same way: a `FileKind` describes the files to find.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError, printable
from .decoding import SUFFIXES
from .walking import is_left_by_systems, natural_key

log = logging.getLogger(__name__)

_LISTS = (".txt", ".lst")


class FileKind(NamedTuple):
    """Describes the files to find.

    Attributes:
        name: Their name in messages, in the plural.
        suffixes: In lower case.
    """

    name: str
    suffixes: tuple[str, ...]

    def includes(self, name: str) -> bool:
        """Return whether a file is of this kind, by its suffix; hidden files are not."""
        return not name.startswith(".") and os.path.splitext(name)[1].lower() in self.suffixes


PHOTOGRAPHS = FileKind("photographs", SUFFIXES)


class Photograph(NamedTuple):
    """Names a file: `name` is its path from the folder that all of them have in common."""

    path: Path
    name: str


def find_photographs(
    images: str | int | float | Sequence[str] | None, kind: FileKind = PHOTOGRAPHS
) -> list[Photograph]:
    """Return the photographs that `images` names, or files of another kind, each once.

    A folder stands for all files in it at any depth that have the suffix of a photograph, in the
    order of their paths; so does a pattern such as `photos/**/*.jpg`. Files that are named one by
    one, in `images` or in a text file of paths, are taken whatever their suffix; such paths are
    relative to the working directory, or else to the folder of the list.

    Raises:
        InputError: If there are none, or a file that is named is missing.
    """
    given = [images] if isinstance(images, (str, int, float)) else list(images or ())
    if not given:
        raise InputError(
            "images is not set: give a folder, a file, a pattern in quotes or a list of files, as "
            "images=photos or images=list.txt."
        )
    pairs = [pair for one in given for pair in _found(str(one), kind)]
    found: dict[str, tuple[Path, Path]] = {}  # by their places: file, folder that names start from
    for path, base in pairs:
        found.setdefault(os.path.abspath(path), (path, base))
    if len(found) < len(pairs):
        log.warning(
            f"images={_shown(given)} names {len(pairs) - len(found)} {kind.name} more than once: "
            "each counts once, where it is named first."
        )
    if not found:
        raise InputError(
            f"images={_shown(given)} has no {kind.name}: they end in {' '.join(kind.suffixes)}."
        )
    bases = {os.path.abspath(base) for _, base in found.values()}
    common = os.path.commonpath(bases)
    return [
        Photograph(path, Path(os.path.relpath(place, common)).as_posix())
        for place, (path, _) in found.items()
    ]


def _found(image: str, kind: FileKind) -> list[tuple[Path, Path]]:
    """Return the files that `image` names, each with the folder that names start from."""
    path = Path(image).expanduser()
    if path.is_dir():
        return [(file, path) for file in photographs_in(path, kind)]
    if path.suffix.lower() in _LISTS and path.is_file():
        return [(file, file.parent) for file in _listed(path)]
    if path.exists():
        return [(path, path.parent)]
    if not glob.has_magic(image):
        raise InputError(
            f"images={_shown([image])} does not exist: give a folder, a file, a pattern in quotes "
            "as 'photos/**/*.jpg', or a text file with one path a line."
        )
    fixed = []
    for part in path.parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    matches = sorted(glob.glob(str(path), recursive=True), key=natural_key)
    files = (Path(one) for one in matches if kind.includes(os.path.basename(one)))
    return [(file, Path(*fixed)) for file in files if file.is_file()]


def photographs_in(folder: Path, kind: FileKind = PHOTOGRAPHS) -> Iterator[Path]:
    """Yield the files of a kind at any depth, in the order of their paths; links count once."""
    found, seen = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(place)
        known = (status.st_dev, status.st_ino) in seen
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [] if known else sorted(n for n in folders if not is_left_by_systems(n))
        if not known:
            found += [os.path.join(place, name) for name in names if kind.includes(name)]
    yield from map(Path, sorted(found, key=natural_key))


def _listed(path: Path) -> Iterator[Path]:
    try:
        lines = path.read_text("utf-8-sig", errors="surrogateescape").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if not name:
            continue
        file = Path(name).expanduser()
        places = (file, path.parent / file)
        there = next((place for place in places if os.path.lexists(place)), None)
        if there is None or there.is_dir():
            kind = "does not exist" if there is None else "is a folder"
            raise InputError(
                f"{path} lists {printable(name)} in line {number}, which {kind}: write one file a "
                "line, from the working directory or from the folder of the list."
            )
        yield there


def _shown(given: Iterable[object]) -> str:
    return ",".join(printable(str(one)) for one in given)
