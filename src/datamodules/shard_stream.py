"""Streams labelled images from shards, decoded as images of any other source are."""

from __future__ import annotations

import io
import json
import logging
import random
import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from ..errors import InputError, one_sentence
from .decoding import SUFFIXES, decode_rgb, open_image, reason
from .fields import Json
from .labels import checked_label
from .photo_source import Transform
from .shards import Sample, samples_of

log = logging.getLogger(__name__)

_IMAGES = tuple(suffix.removeprefix(".") for suffix in SUFFIXES)
_BUFFER = 1000  # encoded samples that a loader process shuffles among
_MOST_SKIPPED = 0.1  # share of the images, as of folders


class Encoded(NamedTuple):
    """Holds an image that is not decoded yet, and its label."""

    name: str
    image: bytes
    label: Json


class ShardStream(IterableDataset[tuple[Tensor, int]]):
    """Yields the images of a split, each once in a pass, with any number of loader processes.

    Validation images come in the order of the shards; training images are shuffled anew in every
    pass: the shards, and the images within a buffer.
    """

    def __init__(
        self,
        files: Sequence[Path],
        length: int,
        transform: Transform,
        outputs: Sequence[int] | int,
        *,
        label_key: str | None,
        image_key: str | None,
        training: bool,
        batch_size: int,
        num_workers: int,
        seed: int,
        skip: bool,
    ) -> None:
        """Keep the settings.

        Args:
            files: The shards.
            length: Images in all of them.
            transform: Of each image.
            outputs: As in `checked_label`.
            label_key: Key of the label in the json beside each image; None for `.cls`.
            image_key: Suffix of the images, without a dot; None for any of an image.
            training: Shuffle, and fill all batches in every process.
            batch_size: Images a batch.
            num_workers: Loader processes.
            seed: Of the order.
            skip: Leave images out that cannot be read.
        """
        self._files = files
        self._length = length
        self._transform = transform
        self._outputs = outputs
        self._label_key = label_key
        self._suffixes = (image_key,) if image_key else _IMAGES
        self._training = training
        self._batch_size = batch_size
        self._seed = seed
        self._skip = skip
        self._passes = 0
        # How many each process has left out in its last pass.
        self._left_out = torch.zeros(max(1, num_workers), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        processes = _processes()[1]
        if not self._training:
            return -(-self._length // processes)
        return self._length // (self._batch_size * processes) * self._batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        worker = get_worker_info()
        place, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        rank, processes = _processes()
        self._passes += 1  # workers live through all epochs and each counts alike
        self._left_out[place] = 0
        if not self._training:
            share = self._in_batches(self._samples(self._files), place, workers, rank, processes)
            yield from self._decoded(share, place)
            return
        # Batches in turn, as PyTorch takes them from its loader processes.
        batches = len(self) // self._batch_size
        count = (batches // workers + (place < batches % workers)) * self._batch_size
        number, total = rank * workers + place, workers * processes
        passes = chain.from_iterable(self._shuffled(number, total, turn) for turn in range(1000))
        yield from islice(self._decoded(passes, place), count)

    def left_out(self) -> str | None:
        """Return a sentence on the images that the last pass left out; None if it read all."""
        count = int(self._left_out.sum())
        if not count:
            return None
        return f"{count} of {self._length} images in shards cannot be read and are left out."

    def _in_batches(
        self, samples: Iterator[Sample], place: int, workers: int, rank: int, processes: int
    ) -> Iterator[Encoded]:
        """Yield this worker's part, so that batches in turn have the order of the shards."""
        count = 0
        for count, sample in enumerate(samples, start=1):
            number, process = divmod(count - 1, processes)
            if process == rank and number // self._batch_size % workers == place:
                yield from self._encoded(sample)
        if count != self._length and self._label_key is None:
            raise InputError(
                f"{self._files[0].parent} holds {count} images in {len(self._files)} shards, but "
                f"its list says {self._length}: write the shards or the list anew."
            )

    def _shuffled(self, number: int, total: int, turn: int) -> Iterator[Encoded]:
        """Yield this worker's part of a pass: its own shards, or its own samples of all."""
        files = list(self._files)
        order = f"{self._seed} {self._passes} {turn}"
        random.Random(order).shuffle(files)
        if len(files) >= total:
            samples = self._samples(files[number::total])
        else:
            samples = islice(self._samples(files), number, None, total)
        rng = random.Random(f"{order} {number}")
        waiting: list[Encoded] = []
        seen = False
        for one in chain.from_iterable(map(self._encoded, samples)):
            seen = True
            waiting.append(one)
            if len(waiting) > _BUFFER:
                yield _drawn(waiting, rng)
        while waiting:
            yield _drawn(waiting, rng)
        if not seen:
            raise InputError(
                f"The shards of {self._files[0].parent} hold no labelled images for loader process "
                f"{number + 1} of {total}: give a smaller datamodule.num_workers or more images."
            )

    def _samples(self, files: Sequence[Path]) -> Iterator[Sample]:
        for file in files:
            yield from samples_of(file)

    def _encoded(self, sample: Sample) -> Iterator[Encoded]:
        """Yield the image and label of a sample; nothing where a json has a label below 0."""
        label = self._label(sample)
        if self._label_key and isinstance(label, int) and label < 0:
            return
        suffix = next((one for one in self._suffixes if one in sample.members), None)
        if suffix is None:
            raise InputError(
                f"{sample.name} has no image ({_dotted(self._suffixes)}), but "
                f"{' '.join(sample.members)}: give datamodule.image_key if it is one of these."
            )
        yield Encoded(sample.name, sample.read(suffix, "image"), label)

    def _label(self, sample: Sample) -> Json:
        suffix = "json" if self._label_key else "cls"
        if suffix not in sample.members:
            raise InputError(
                f"{sample.name} has no label (.{suffix}), but {' '.join(sample.members)}: give "
                "datamodule.label_key if its json holds the label."
            )
        content = sample.read(suffix, "label")
        if self._label_key is None:
            text = content.decode("utf-8", "backslashreplace").strip()
            return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text
        try:
            facts = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{sample.name}.json is not json: {one_sentence(str(error))}"
            ) from error
        if not isinstance(facts, dict) or self._label_key not in facts:
            raise InputError(
                f"{sample.name}.json has no {self._label_key}: give the label's key as "
                "datamodule.label_key."
            )
        label: Json = facts[self._label_key]
        return label

    def _decoded(self, encoded: Iterator[Encoded], place: int) -> Iterator[tuple[Tensor, int]]:
        for one in encoded:
            label = checked_label(one.label, self._outputs, partial(str, one.name))
            try:
                image = decode_rgb(open_image(io.BytesIO(one.image)))
            except Exception as error:  # Pillow's decoders raise whatever they like
                self._leave_out(one.name, place, error)
            else:
                yield self._transform(image), label

    def _leave_out(self, name: str, place: int, error: Exception) -> None:
        if not self._skip:
            raise InputError(
                f"{name} cannot be read as an image ({reason(error)}): replace or remove it, or "
                "leave such images out with datamodule.on_bad_image=skip."
            ) from error
        self._left_out[place] += 1
        count = int(self._left_out.sum())
        if count >= self._length or count > max(1, _MOST_SKIPPED * self._length):
            raise InputError(
                f"{count} of {self._length} images cannot be read, as {name}: "
                f"datamodule.on_bad_image=skip leaves out up to {_MOST_SKIPPED:.0%} of them."
            )
        log.warning(f"{name} cannot be read as an image ({reason(error)}) and is left out.")


def _dotted(suffixes: Sequence[str]) -> str:
    """Join suffixes, each with its dot."""
    return " ".join(f".{suffix}" for suffix in suffixes)


def _drawn(waiting: list[Encoded], rng: random.Random) -> Encoded:
    """Remove and return a random one, in constant time."""
    number = rng.randrange(len(waiting))
    waiting[number], waiting[-1] = waiting[-1], waiting[number]
    return waiting.pop()


def _processes() -> tuple[int, int]:
    """Return this process's rank in a training and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
