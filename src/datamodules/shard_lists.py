"""Finds the shards of a split: which files the split, or a list beside them, names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import InputError
from .shards import count_samples

if TYPE_CHECKING:
    from timm.data.readers.reader_wds import SplitInfo

_LISTS = ("_info.json", "info.json")  # where timm looks for the names of shards
_MOST_SHARDS = 1_000_000


class Shards(NamedTuple):
    """Holds a split's files, their number of images, and the labels' key in each image's json."""

    files: list[Path]
    length: int
    label_key: str | None


def check_folder(root: str | None, dataset: str, splits: Iterable[str]) -> None:
    """Check a folder of shards before anything is read from it.

    Args:
        root: The folder, or None if it is not set.
        dataset: The setting that says what it holds, for messages.
        splits: In timm's notation, as `train-{000..099}.tar`.

    Raises:
        InputError: If there is no such folder, a list is no file, or a split names too many shards.
    """
    if root is None or not Path(root).is_dir():
        raise InputError(
            f"datamodule.dataset={dataset} needs datamodule.root=/folder/of/the/shards, and "
            f"{root} is no folder."
        )
    for name in _LISTS:
        path = Path(root) / name
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no regular file: it should list the shards as json.")
    for split in splits:
        ranges = re.findall(r"{(\d+)\.\.(\d+)", split)
        if prod(abs(int(end) - int(start)) + 1 for start, end in ranges) > _MOST_SHARDS:
            raise InputError(
                f"The split {split} names more than {_MOST_SHARDS:,} shards: name those that "
                f"{root} holds."
            )


def find_shards(root: str, split: str, listed: SplitInfo, label_key: str | None) -> Shards:
    """Return the shards of a split, counting their images where no list says how many there are.

    Args:
        root: The folder.
        split: Its name, for messages.
        listed: What timm has read of it.
        label_key: Key of the labels as it was set; None for the list's.

    Raises:
        InputError: If a shard is missing or outside of the folder, or there is no image.
    """
    files = shard_files(Path(root), listed.filenames)
    length = listed.num_samples or count_samples(files)
    if type(length) is not int or length < 1 or not files:
        raise InputError(
            f"The split '{split}' of {root} has {length} images in {len(files)} shards: there must "
            "be at least one."
        )
    return Shards(files, length, label_key or listed.alt_label or None)


def shard_files(root: Path, names: Sequence[str]) -> list[Path]:
    """Return the files of shards that a split or a list names.

    Raises:
        InputError: If a name is an address, or leads out of `root`, or there is no such file.
    """
    for name in names:
        if not isinstance(name, str) or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", name):
            raise InputError(
                f"{root} lists the shard {str(name)[:80]}, which is an address or a command: a "
                "shard must be a file in that folder."
            )
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"{root} lists the shard {name}, which is outside of that folder.")
        if not (root / name).is_file():
            raise InputError(f"{root} lists the shard {name}, but there is no such file.")
    return [root / name for name in names]
