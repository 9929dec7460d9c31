"""Labelled images that timm opens by name: webdataset, Hugging Face and TensorFlow data sets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from timm.data import create_dataset
from torch import Tensor
from torch.utils.data import IterableDataset

from ..errors import InputError, one_sentence
from .labelled import LabelledImages
from .labels import checked_label
from .photos import PhotoSource
from .shards import ShardStream, count_samples, shard_files

_PACKAGES = {  # prefix: (module, name for pip)
    "wds": ("webdataset", "webdataset"),
    "hfds": ("datasets", "datasets"),
    "tfds": ("tensorflow_datasets", "tensorflow-datasets"),
}


_LISTS = ("_info.json", "info.json")  # where timm looks for the names of shards
_MOST_SHARDS = 1_000_000
_CLASSES = 1000  # of a data set that does not say


class Shards(NamedTuple):
    """A split's files, how many images they hold, and the labels' key in each image's json."""

    files: list[Path]
    length: int
    label_key: str | None


class ImageStream(IterableDataset[tuple[Tensor, int]]):
    """timm's iterable data set; shards come in another order at every pass."""

    def __init__(
        self,
        dataset: Any,
        transform: Callable[[Image.Image], Tensor],
        num_workers: int,
        outputs: Sequence[int] | int | None = None,
    ) -> None:
        """Set timm's data set up; `outputs` is as in `checked_label`."""
        self._outputs = outputs
        self.dataset = dataset
        self.dataset.transform = transform
        # Without loader processes there is still this one; timm 1.0.22 would count none.
        self.dataset.set_loader_cfg(num_workers=max(1, num_workers))
        self.passes = 0

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        # Workers live through all epochs and each counts alike.
        self.dataset.set_epoch(self.passes)
        self.passes += 1
        return (
            (
                image,
                checked_label(label, self._outputs, lambda: f"An image of {type(self).__name__}"),
            )
            for image, label in self.dataset
        )


class NamedImages(PhotoSource):
    """A data set by timm's one string, `wds/...`, `hfds/...` or `tfds/...`."""

    def __init__(
        self,
        name: str,
        root: str | None,
        train_split: str,
        val_split: str,
        *,
        num_classes: int | None,
        image_key: str | None,
        label_key: str | None,
        batch_size: int,
        num_workers: int,
        seed: int,
        skip: bool,
    ) -> None:
        """Keep the settings.

        Args:
            name: timm's string.
            root: Folder of the shards (wds) or of the cache.
            train_split: The set's own name of its training part.
            val_split: The same of its validation part.
            num_classes: Outputs, or None to ask the data set; 1000 where it does not know.
            image_key: Column or suffix of the images, or None to find it.
            label_key: Column or json key of the labels, or None to find it.
            batch_size: Streams fill whole batches.
            num_workers: Streams are shared out among them.
            seed: Of a stream's order.
            skip: Leave images of shards out that cannot be read.
        """
        self.name = name
        # Absolute, so that nothing takes it for an address or a command.
        self.root = root and str(Path(root).expanduser().resolve())
        self._prefix = name.partition("/")[0]
        self._splits = {True: train_split, False: val_split}
        self._given_classes = num_classes
        self._keys = {"input_key": image_key, "target_key": label_key}
        self._batch_size = batch_size
        self._num_workers = num_workers
        self._seed = seed
        self._skip = skip
        self._opened: dict[bool, Any] = {}
        self._shards: dict[bool, Shards] = {}
        self._streams: dict[bool, ShardStream] = {}
        self._adopted: tuple[str, ...] | None = None

    @property
    def num_classes(self) -> int:
        """As given, as the data set says, or 1000."""
        return len(self._adopted or ()) or self._own_classes

    @cached_property
    def _own_classes(self) -> int:
        return self._given_classes or len(self._own_names or ()) or _CLASSES

    @cached_property
    def _own_names(self) -> tuple[str, ...] | None:
        """The data set's names in the order of its labels, where it has them."""
        places = self._open(training=False).reader.class_to_idx
        names = tuple(map(str, sorted(places, key=places.__getitem__)))
        return names if names and self._given_classes in (None, len(names)) else None

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Name of each output; None where the data set does not know."""
        return self._adopted or self._own_names

    def adopt_classes(self, names: Sequence[str]) -> None:
        """Label images by the outputs of a network whose classes are `names`.

        Which must include all of the data set's own.
        """
        self._adopted = tuple(names)

    @property
    def _outputs(self) -> Sequence[int] | int:
        """The output of each of the data set's labels, or how many there are."""
        if self._adopted is None or self._own_names is None:
            return self._own_classes
        return [self._adopted.index(name) for name in self._own_names]

    @property
    def present_classes(self) -> tuple[int, ...] | None:
        """Outputs that the data set has classes of; None when all."""
        outputs = self._outputs
        if isinstance(outputs, int) or len(outputs) == self.num_classes:
            return None
        return tuple(sorted(outputs))

    def left_out(self) -> list[str]:
        """Say of each split's shards how many images could not be read, if there are any."""
        return [said for stream in self._streams.values() if (said := stream.left_out())]

    def num_train_images(self) -> int:
        """How many there are."""
        if self._prefix == "wds" and (shards := self._find_shards(training=True)):
            return shards.length
        return len(self._open(training=True))

    def check(self, training: bool) -> None:
        """Open the validation split, and the training split if asked for.

        Raises:
            InputError: One sentence on what is wrong.
        """
        if self._prefix not in _PACKAGES or "/" not in self.name:
            raise InputError(
                f"datamodule.dataset={self.name} is not known: leave it empty for folders, "
                "or write wds/<name>, hfds/<name> or tfds/<name>."
            )
        module, package = _PACKAGES[self._prefix]
        if find_spec(module) is None:
            raise InputError(
                f"datamodule.dataset={self.name} needs a package: pip install {package}."
            )
        if self._prefix == "wds":
            self._check_folder()
        for part in (True, False) if training else (False,):
            try:
                self._open(part)
                if self._prefix == "wds":
                    self._find_shards(part)
            except InputError:
                raise
            except Exception as error:  # of libraries, on what a data set's files say
                reason = one_sentence(str(error) or type(error).__name__)
                raise InputError(
                    f"datamodule.dataset={self.name} cannot be opened at root={self.root}, "
                    f"split '{self._splits[part]}': {reason}"
                ) from error

    def dataset(
        self, training: bool, transform: Callable[[Image.Image], Tensor]
    ) -> LabelledImages | ImageStream | ShardStream:
        """The images of a split."""
        shards = self._find_shards(training) if self._prefix == "wds" else None
        if shards:
            self._streams[training] = ShardStream(
                shards.files,
                shards.length,
                transform,
                self._outputs,
                label_key=shards.label_key,
                image_key=self._keys["input_key"],
                training=training,
                batch_size=self._batch_size,
                num_workers=self._num_workers,
                seed=self._seed,
                skip=self._skip,
            )
            return self._streams[training]
        opened = self._open(training)
        if isinstance(opened, IterableDataset):
            return ImageStream(opened, transform, self._num_workers, self._outputs)
        return LabelledImages(opened.reader, transform, self._outputs)

    def _check_folder(self) -> None:
        if self.root is None or not Path(self.root).is_dir():
            raise InputError(
                f"datamodule.dataset={self.name} needs datamodule.root=/folder/of/the/shards, and "
                f"{self.root} is no folder."
            )
        for name in _LISTS:
            path = Path(self.root) / name
            if path.exists() and not path.is_file():
                raise InputError(f"{path} is no regular file: it should list the shards as json.")
        for split in self._splits.values():
            ranges = re.findall(r"{(\d+)\.\.(\d+)", split)
            if prod(abs(int(end) - int(start)) + 1 for start, end in ranges) > _MOST_SHARDS:
                raise InputError(
                    f"The split {split} names more than {_MOST_SHARDS:,} shards: name those that "
                    f"{self.root} holds."
                )

    def _open(self, training: bool) -> Any:
        if training in self._opened:
            return self._opened[training]
        split = self._splits[training]
        keys: dict[str, Any] = self._columns(split) if self._prefix == "hfds" else {}
        if self._prefix == "tfds":
            keys = {key: value for key, value in self._keys.items() if value}
        dataset = create_dataset(
            self.name,
            root=self.root,
            split=split,
            is_training=training and self._prefix != "wds",
            batch_size=self._batch_size,
            **keys,
        )
        if not isinstance(dataset, IterableDataset):  # a stream asks for its rank when it is built
            self._opened[training] = dataset
        return dataset

    def _columns(self, split: str) -> dict[str, Any]:
        """Which columns of a hub's data set hold images and labels, by what they are."""
        import datasets

        name = self.name.partition("/")[2]
        features = datasets.load_dataset(name, split=split, cache_dir=self.root).features
        images = [key for key, kind in features.items() if isinstance(kind, datasets.Image)]
        labels = [key for key, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
        found: dict[str, Any] = {}
        for key, setting, usual, candidates in (
            ("input_key", "image_key", "image", images),
            ("target_key", "label_key", "label", labels),
        ):
            given = self._keys[key]
            column = given or (usual if usual in features else None)
            if column is None and len(candidates) == 1:
                column = candidates[0]
            if column not in features:
                called = f"no column {given}" if given else f"no one column of {usual}s"
                raise InputError(
                    f"datamodule.dataset={self.name} has {called}: name one of "
                    f"{', '.join(features)} as datamodule.{setting}."
                )
            found[key] = column
        return found

    def _find_shards(self, training: bool) -> Shards | None:
        """What timm's reader of webdataset has read of a split's list; None of another reader."""
        if training not in self._shards:
            from timm.data.readers.reader_wds import ReaderWds

            reader = self._open(training).reader
            if not isinstance(reader, ReaderWds):
                return None
            split = reader.split_info
            files = shard_files(Path(self.root or ""), split.filenames)
            length = split.num_samples or count_samples(files)
            if type(length) is not int or length < 1 or not files:
                raise InputError(
                    f"The split '{self._splits[training]}' of {self.root} has {length} images in "
                    f"{len(files)} shards: there must be one at least."
                )
            label_key = self._keys["target_key"] or split.alt_label or None
            self._shards[training] = Shards(files, length, label_key)
        return self._shards[training]
