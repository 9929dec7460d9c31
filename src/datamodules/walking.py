"""Finds class folders and the images below them, in timm's order."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError, some
from .decoding import SUFFIXES, kind_of

log = logging.getLogger(__name__)

# Folders and files that operating systems and editors leave among a user's own.
_LEFT_BY_SYSTEMS = ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN")
_FILES_OF_SYSTEMS = ("thumbs.db", "desktop.ini")


def natural_key(name: str) -> tuple[list[int | str], str]:
    """Return a key that orders names as timm does, numbers by their value, and ties as text."""
    parts = re.split(r"(\d+)", name.lower())
    return [int(part) if part.isdecimal() else part for part in parts], name


def class_folders(split: Path, kind: str = "images") -> list[str]:
    """Return the names of the class folders in `split`, in timm's order.

    Args:
        split: The folder.
        kind: The name of their files in messages.

    Raises:
        InputError: If there are none.
    """
    with os.scandir(split) as found:
        entries = [entry for entry in found if not entry.name.startswith(".")]
    folders = [entry.name for entry in entries if entry.is_dir()]
    names = sorted((name for name in folders if not is_left_by_systems(name)), key=natural_key)
    if not names:
        raise InputError(
            f"{split} holds {len(entries)} files but no class folders: "
            f"sort the {kind} into one folder per class."
        )
    return names


def find_images(split: Path, classes: list[str]) -> list[tuple[str, str]]:
    """Return `(path, class)` of every image below the class folders, at any depth.

    Warns of other files and folders, which are left out.

    Raises:
        InputError: If an image's name is that of a pipe, socket or device, or if a link leads to a
            folder that is walked already, so that its images would count twice.
    """
    seen: dict[tuple[int, int], str] = {_identity(split): str(split)}
    left_out = _LeftOut()
    with os.scandir(split) as entries:
        for entry in entries:
            if not entry.is_dir():
                left_out.add_beside_classes(entry.name)
            elif entry.name not in classes:
                left_out.add_folder(entry.path)
    samples = [
        (path, name) for name in classes for path in _walk(str(split / name), seen, left_out)
    ]
    left_out.warn(split)
    return sorted(samples, key=lambda sample: natural_key(sample[0]))


def _walk(folder: str, seen: dict[tuple[int, int], str], left_out: _LeftOut) -> Iterator[str]:
    identity = _identity(folder)
    if identity in seen:
        raise InputError(
            f"{folder} leads to the same folder as {seen[identity]}, so that its images would "
            "count twice: remove this link."
        )
    seen[identity] = folder
    with os.scandir(folder) as found:
        entries = list(found)
    for entry in entries:
        if entry.is_dir():
            if is_left_by_systems(entry.name):
                left_out.add_folder(entry.path)
            else:
                yield from _walk(entry.path, seen, left_out)
        elif not is_image_name(entry.name):
            left_out.add_file(entry.name)
        else:
            if not entry.is_file() and os.path.exists(entry.path):
                raise InputError(
                    f"{entry.path} is {kind_of(os.stat(entry.path).st_mode)}, not a regular file: "
                    "remove it from the images."
                )
            yield entry.path


def is_image_name(name: str) -> bool:
    """Return whether a file is an image, by its suffix; hidden files are not."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def _identity(folder: str | Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def is_left_by_systems(folder: str) -> bool:
    """Return whether a folder is hidden or left by a system or an editor, by its name."""
    return folder.startswith(".") or folder in _LEFT_BY_SYSTEMS


class _LeftOut:
    """Counts the files and folders that are left out."""

    def __init__(self) -> None:
        self.suffixes: Counter[str] = Counter()
        self.folders: list[str] = []
        self.beside = 0

    def add_file(self, name: str) -> None:
        if not name.startswith(".") and name.lower() not in _FILES_OF_SYSTEMS:
            self.suffixes[os.path.splitext(name)[1].lower() or "no suffix"] += 1

    def add_beside_classes(self, name: str) -> None:
        self.beside += is_image_name(name)

    def add_folder(self, folder: str) -> None:
        if any(is_image_name(name) for _, _, names in os.walk(folder) for name in names):
            self.folders.append(folder)

    def warn(self, split: Path) -> None:
        count = sum(self.suffixes.values())
        if count:
            kinds = [f"{suffix} {number}" for suffix, number in self.suffixes.most_common()]
            log.warning(
                f"{count} files of {split} do not have the suffix of an image ({some(kinds)}) "
                f"and are left out: images end in {' '.join(SUFFIXES)}."
            )
        if self.beside:
            log.warning(
                f"{self.beside} images lie in {split} itself, outside of its class folders, and "
                "are left out."
            )
        if self.folders:
            log.warning(
                f"{some(self.folders)} hold images and are left out: folders of such names are "
                "left by a system or an editor and are not classes."
            )
