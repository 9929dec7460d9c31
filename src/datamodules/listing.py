"""Finds the images, or videos, that a file lists by name in a folder."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath

from ..errors import InputError, some
from .fields import shown

log = logging.getLogger(__name__)


def find_listed(
    folder: Path, names: Sequence[str], source: Path, kind: str = "image"
) -> list[Path]:
    r"""Return the file of each name.

    `\` is read as `/` unless a file has it in its name. Where a subfolder does not exist, the last
    part of the name is looked for in `folder` itself.

    Args:
        folder: What the names are relative to.
        names: From `source`, in any notation.
        source: The file that lists them, for messages.
        kind: What to call one of them in a message.

    Raises:
        InputError: If a name leads out of the folder, or files are missing.
    """
    files_in = cache(_files_in)
    found: dict[str, Path] = {}
    flattened = []
    for name in dict.fromkeys(names):
        path = _inside(name, source, kind)
        as_listed = (folder / name, folder / path)
        for file in (*as_listed, folder / path.name):
            if file.name in files_in(file.parent):
                found[name] = file
                flattened += [] if file in as_listed else [name]
                break
    _check_all_there(folder, names, found, source, kind)
    counts = Counter(found.values())
    doubled = [name for name in flattened if counts[found[name]] > 1]
    if doubled:
        raise InputError(
            f"{source} lists several {kind}s that could be {found[doubled[0]]}, as "
            f"{some([shown(name) for name in doubled])}: put them into {folder} as they are listed."
        )
    if flattened:
        log.warning(
            f"{source} lists {len(flattened)} {kind}s in subfolders that {folder} does not have, "
            f"as {shown(flattened[0])}: files of the same names in that folder itself are taken."
        )
    if len(names) > len(counts):
        log.warning(f"{source} lists {len(names) - len(counts)} {kind}s more than once.")
    return [found[name] for name in names]


def _inside(name: str, source: Path, kind: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", name) or not path.name:
        raise InputError(
            f"{source} lists the {kind} {shown(name)}, which is outside of the {kind}s' folder: "
            "its name must be relative to that folder."
        )
    return path


def _files_in(folder: Path) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except (OSError, ValueError):  # no folder, or a name that no file system has
        return frozenset()


def _check_all_there(
    folder: Path, names: Sequence[str], found: dict[str, Path], source: Path, kind: str
) -> None:
    missing = [name for name in dict.fromkeys(names) if name not in found]
    if not missing:
        return
    path = PurePosixPath(missing[0].replace("\\", "/"))
    alike = [
        file
        for file in _files_in(folder / path.parent) | _files_in(folder)
        if file.lower() == path.name.lower()
    ]
    hint = f" ({path.name} is written {alike[0]} there)" if alike else ""
    raise InputError(
        f"{len(missing)} of the {len(names)} {kind}s that {source} lists are not in "
        f"{folder}{hint}: {some([shown(name) for name in missing])}."
    )
