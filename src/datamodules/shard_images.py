"""Opens the images of shards by number, so that training and resuming work as with files."""

from __future__ import annotations

import io
import json
import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError, one_sentence
from .decoding import SUFFIXES
from .fields import Json
from .labelled import UnlabelledImage
from .shard_lists import Shards
from .shard_samples import Sample

_IMAGES = tuple(suffix.removeprefix(".") for suffix in SUFFIXES)
_MOST_KNOWN = 30_000  # samples whose places in shards a process remembers


class ShardReader:
    """Opens images by number in the order of the shards, with the methods of timm's readers.

    Each loader process searches a shard for its samples when it first needs it.
    """

    def __init__(self, shards: Shards, *, image_key: str | None) -> None:
        """Keep the shards; none is opened yet.

        Args:
            shards: The shards of a split.
            image_key: Suffix of the images, without a dot; None for any suffix of an image.
        """
        self.shards = shards
        self.lengths: Sequence[int] = shards.lengths
        self._starts = [0, *accumulate(shards.lengths)]
        self._suffixes = (image_key,) if image_key else _IMAGES
        self._known: OrderedDict[int, list[Sample]] = OrderedDict()  # by shard, the latest last

    @property
    def may_lack_labels(self) -> bool:
        """Return whether a sample may have no label, which is a number below 0 in a json."""
        return self.shards.label_key is not None

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> tuple[BinaryIO, Json]:
        """Return an image's file and its label as it is stored.

        Raises:
            UnlabelledImage: If its label is below 0 in a json.
            InputError: If it has no image or label, or its shard is damaged.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        sample, file = self._find(index)
        label = self._label(sample, file)
        if self.may_lack_labels and isinstance(label, int) and label < 0:
            raise UnlabelledImage(f"{sample.name} has the label {label} and counts as none.")
        suffix = next((one for one in self._suffixes if one in sample.members), None)
        if suffix is None:
            raise InputError(
                f"{sample.name} has no image ({_dotted(self._suffixes)}), but "
                f"{' '.join(sample.members)}: give datamodule.image_key if it is one of these."
            )
        return io.BytesIO(sample.read(file, suffix, "image")), label

    def filename(self, index: int, *, absolute: bool = False) -> str:
        """Return the name of an image, made of its shard's and its sample's."""
        return self._find(index)[0].name

    def _find(self, index: int) -> tuple[Sample, Path]:
        """Return a sample, and the file that it can be read from."""
        number = bisect_right(self._starts, index) - 1
        file = self.shards.place.local(self.shards.names[number])
        if number not in self._known:
            self._known[number] = self.shards.samples(number)
            while len(self._known) > 1 and sum(map(len, self._known.values())) > _MOST_KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(number)
        return self._known[number][index - self._starts[number]], file

    def _label(self, sample: Sample, file: Path) -> Json:
        key = self.shards.label_key
        suffix = "json" if key else "cls"
        if suffix not in sample.members:
            raise InputError(
                f"{sample.name} has no label (.{suffix}), but {' '.join(sample.members)}: give "
                "datamodule.label_key if its json holds the label."
            )
        content = sample.read(file, suffix, "label")
        if key is None:
            text = content.decode("utf-8", "backslashreplace").strip()
            return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text
        try:
            facts = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{sample.name}.json is not json: {one_sentence(str(error))}"
            ) from error
        if not isinstance(facts, dict) or key not in facts:
            raise InputError(
                f"{sample.name}.json has no {key}: give the label's key as datamodule.label_key."
            )
        label: Json = facts[key]
        return label


def _dotted(suffixes: Sequence[str]) -> str:
    """Join suffixes, each with its dot."""
    return " ".join(f".{suffix}" for suffix in suffixes)
