"""Finds the shards of a split: the files that the split, or a list beside them, names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .shard_places import ShardPlace, is_address
from .shard_samples import Sample, samples_of

if TYPE_CHECKING:
    from timm.data.readers.reader_wds import SplitInfo

LISTS = ("_info.json", "info.json")  # where timm looks for the names of shards
_MOST_SHARDS = 1_000_000


@dataclass(frozen=True)
class Shards:
    """Holds the shards of a split.

    Attributes:
        place: Where they lie.
        names: Names of their files.
        lengths: Number of samples of each.
        label_key: The labels' key in the json beside each image; None for labels in `.cls`.
    """

    place: ShardPlace
    names: tuple[str, ...]
    lengths: tuple[int, ...]
    label_key: str | None

    def samples(self, number: int) -> list[Sample]:
        """Return the samples of a shard.

        Raises:
            InputError: If it is not a complete tar file, or has more or fewer than its list says.
        """
        found = read_samples(self.place, self.names[number])
        if len(found) != self.lengths[number]:
            listed = sum(self.lengths)
            total = listed - self.lengths[number] + len(found)
            raise InputError(
                f"{self.place.root} holds {total} images in {len(self.names)} shards, but its list "
                f"says {listed}, as {self.names[number]} has {len(found)} and not "
                f"{self.lengths[number]}: write the shards or the list anew."
            )
        return found


def check_folder(root: str | None, dataset: str, splits: Iterable[str]) -> None:
    """Check a folder of shards before anything is read from it.

    Args:
        root: The folder or address, or None if it is not set.
        dataset: The setting that names the data set, for messages.
        splits: In timm's notation, such as `train-{000..099}.tar`.

    Raises:
        InputError: If the folder does not exist, a list is not a file, or a split has too many
            shards.
    """
    if root is None or not (is_address(root) or Path(root).is_dir()):
        raise InputError(
            f"datamodule.dataset={dataset} needs datamodule.root=/folder/of/the/shards, and "
            f"{root} is not a folder."
        )
    for name in LISTS:
        path = Path(root) / name
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is not a regular file: it should list the shards as json.")
    for split in splits:
        ranges = re.findall(r"{(\d+)\.\.(\d+)", split)
        if prod(abs(int(end) - int(start)) + 1 for start, end in ranges) > _MOST_SHARDS:
            raise InputError(
                f"The split {split} names more than {_MOST_SHARDS:,} shards: name those that "
                f"{root} holds."
            )


def find_shards(place: ShardPlace, split: str, listed: SplitInfo, label_key: str | None) -> Shards:
    """Return the shards of a split, counting their samples where no list says how many there are.

    Args:
        place: Where they lie.
        split: Its name, for messages.
        listed: timm's description of the split.
        label_key: The given key of the labels; None for the list's.

    Raises:
        InputError: If a shard is missing, empty or outside of the folder, or there is no image.
    """
    names = shard_names(place, listed.filenames)
    key = label_key or listed.alt_label or None
    lengths = _listed_lengths(listed, len(names))
    if key and lengths and len(read_samples(place, names[0])) != lengths[0]:
        lengths = None  # the list counts only samples with a label
    if not lengths:
        lengths = tuple(len(read_samples(place, name)) for name in names)
    if not names or sum(lengths) < 1 or listed.num_samples < 0:
        raise InputError(
            f"The split '{split}' of {place.root} has {sum(lengths)} images in {len(names)} "
            "shards: there must be at least one."
        )
    for name, length in zip(names, lengths, strict=True):
        if not length:
            raise InputError(
                f"{place.shown(name)} is a shard without images: remove it from the split "
                f"'{split}', or write it anew."
            )
    return Shards(place, names, lengths, key)


def read_samples(place: ShardPlace, name: str) -> list[Sample]:
    """Return the samples of a shard, each of which can be read by itself.

    Raises:
        InputError: If it is not a complete tar file.
    """
    return list(samples_of(place.local(name), place.shown(name)))


def shard_names(place: ShardPlace, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of shards in a split or a list, once they have been checked.

    Raises:
        InputError: If a name is an address, leads out of the folder, or names a file that does not
            exist or is empty.
    """
    root = place.root
    for name in names:
        if not isinstance(name, str) or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", name):
            raise InputError(
                f"{root} lists the shard {str(name)[:80]}, which is an address or a command: a "
                "shard must be a file in that folder."
            )
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"{root} lists the shard {name}, which is outside of that folder.")
        if not place.has(name):
            raise InputError(f"{root} lists the shard {name}, but there is no such file.")
        if not place.size(name):
            raise InputError(f"{place.shown(name)} is an empty file, not a shard: write it anew.")
    return tuple(names)


def _listed_lengths(listed: SplitInfo, shards: int) -> tuple[int, ...] | None:
    """Return the listed number of samples of each shard; None unless they add up."""
    lengths = tuple(listed.shard_lengths)
    if len(lengths) != shards or any(type(one) is not int or one < 0 for one in lengths):
        return None
    return lengths if sum(lengths) == listed.num_samples else None
