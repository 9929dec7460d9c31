"""Labelled images in tar files (webdataset's layout), read from disk and decoded by our own rule.

webdataset would run a shard that is called `pipe:...` in a shell, and Pillow, left alone, programs
that an image asks for; here a shard is a regular file of the folder, and an image is as any other.
"""

from __future__ import annotations

import io
import json
import logging
import random
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from ..errors import InputError, one_sentence
from .decoding import SUFFIXES, check_regular, decode_rgb, open_image, reason
from .labels import checked_label

log = logging.getLogger(__name__)

_IMAGES = tuple(suffix.removeprefix(".") for suffix in SUFFIXES)
_BUFFER = 1000  # encoded samples that a loader process shuffles among
_MOST_BYTES = {"image": 500_000_000, "label": 10_000_000}  # of one member
_MOST_SKIPPED = 0.1  # share of the images, as of folders


class Sample(NamedTuple):
    """The members of one image, by their suffixes; `name` is the shard's and the sample's."""

    name: str
    members: dict[str, tarfile.TarInfo]
    shard: tarfile.TarFile

    def read(self, suffix: str, kind: str) -> bytes:
        """The content of a member.

        Raises:
            InputError: If it is larger than any of its kind.
        """
        member = self.members[suffix]
        if member.size > _MOST_BYTES[kind]:
            raise InputError(
                f"{self.name}.{suffix} has {member.size:,} bytes, more than the "
                f"{_MOST_BYTES[kind]:,} of any {kind}: remove it from its shard."
            )
        file = self.shard.extractfile(member)
        assert file is not None  # only regular members are listed
        return file.read()


class Encoded(NamedTuple):
    """An image that is not decoded yet, and its label."""

    name: str
    image: bytes
    label: Any


class ShardStream(IterableDataset[tuple[Tensor, int]]):
    """The images of a split, each once in a pass, whatever the number of loader processes.

    Validation images come in the order of the shards; training images are shuffled anew in every
    pass: the shards, and the images within a buffer.
    """

    def __init__(
        self,
        files: Sequence[Path],
        length: int,
        transform: Callable[[Image.Image], Tensor],
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
            training: Shuffle, and fill whole batches in every process.
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
        wanted = (batches // workers + (place < batches % workers)) * self._batch_size
        number, total = rank * workers + place, workers * processes
        passes = chain.from_iterable(self._shuffled(number, total, turn) for turn in range(1000))
        yield from islice(self._decoded(passes, place), wanted)

    def left_out(self) -> str | None:
        """How many images the last pass has left out; None if it could read all."""
        count = int(self._left_out.sum())
        if not count:
            return None
        return f"{count} of {self._length} images in shards cannot be read and are left out."

    def _in_batches(
        self, samples: Iterator[Sample], place: int, workers: int, rank: int, processes: int
    ) -> Iterator[Encoded]:
        """This worker's part, so that batches in turn have the order of the shards."""
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
        """One pass over this worker's part: its own shards, or its own samples of all."""
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
        """Its image and label; nothing where a json says, by a label below 0, to pass it over."""
        label = self._label(sample)
        if self._label_key and isinstance(label, int) and label < 0:
            return
        suffix = next((one for one in self._suffixes if one in sample.members), None)
        if suffix is None:
            raise InputError(
                f"{sample.name} has no image ({some_suffixes(self._suffixes)}), but "
                f"{' '.join(sample.members)}: give datamodule.image_key if it is one of these."
            )
        yield Encoded(sample.name, sample.read(suffix, "image"), label)

    def _label(self, sample: Sample) -> Any:
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
        return facts[self._label_key]

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


def samples_of(file: Path) -> Iterator[Sample]:
    """Yield the samples of a shard: neighbouring members whose names agree up to the first dot.

    Raises:
        InputError: If it is no whole tar file.
    """
    try:
        check_regular(file)
        with tarfile.open(file) as shard:
            sample: Sample | None = None
            for member in shard:
                shard.members = []  # type: ignore[attr-defined]  # else it remembers all of them
                key, suffix = _split(member.name)
                if not member.isreg() or not suffix:
                    continue
                name = f"{file}: {key}"
                if sample is None or sample.name != name:
                    if sample:
                        yield sample
                    sample = Sample(name, {}, shard)
                sample.members[suffix] = member
            if sample:
                yield sample
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{file} cannot be read as a shard ({reason(error)}): give a whole tar file."
        ) from error


def count_samples(files: Sequence[Path]) -> int:
    """Count the samples of shards by their headers."""
    return sum(1 for file in files for _ in samples_of(file))


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


def some_suffixes(suffixes: Sequence[str]) -> str:
    """Suffixes with their dots."""
    return " ".join(f".{suffix}" for suffix in suffixes)


def _split(name: str) -> tuple[str, str]:
    """A member's key and suffix; no suffix for hidden files and those of webdataset itself."""
    folder, _, file = name.rpartition("/")
    key, _, suffix = file.partition(".")
    if not key or re.fullmatch("__.*__", file):
        return "", ""
    return f"{folder}/{key}" if folder else key, suffix.lower()


def _drawn(waiting: list[Encoded], rng: random.Random) -> Encoded:
    """Take any of them, in constant time."""
    number = rng.randrange(len(waiting))
    waiting[number], waiting[-1] = waiting[-1], waiting[number]
    return waiting.pop()


def _processes() -> tuple[int, int]:
    """This process's rank in a training and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
