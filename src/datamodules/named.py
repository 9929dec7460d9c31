"""Opens labelled images that timm knows by name: webdataset, Hugging Face, TensorFlow sets."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from timm.data import ImageDataset, IterableImageDataset, create_dataset
from typing_extensions import override

from ..errors import InputError, one_sentence
from .hub_columns import find_columns
from .image_stream import ImageStream
from .labelled import LabelledImages
from .photo_source import PhotoSource, Transform
from .shard_images import ShardReader
from .shard_lists import LISTS, Shards, check_folder, find_shards
from .shard_places import ShardPlace, is_address, shard_place

_PACKAGES = {  # prefix: (module, name for pip)
    "wds": ("webdataset", "webdataset"),
    "hfds": ("datasets", "datasets"),
    "tfds": ("tensorflow_datasets", "tensorflow-datasets"),
}


_CLASSES = 1000  # of a data set that does not know its number


class NamedImages(PhotoSource):
    """Provides a data set by timm's name for it: `wds/...`, `hfds/...` or `tfds/...`."""

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
    ) -> None:
        """Keep the settings.

        Args:
            name: timm's name.
            root: Folder or address (s3://...) of the shards (wds), or folder of the cache.
            train_split: The data set's own name of its training part.
            val_split: The data set's own name of its validation part.
            num_classes: Number of outputs; None for the data set's, or 1000 if it does not know.
            image_key: Column or suffix of the images, or None to find it.
            label_key: Column or json key of the labels, or None to find it.
            batch_size: Images of a batch; streams fill complete ones.
            num_workers: Loader processes, among which streams are distributed.
        """
        self.name = name
        # Absolute, so that it cannot be mistaken for an address or a command.
        self.root = root and (root if is_address(root) else str(Path(root).expanduser().resolve()))
        self._prefix = name.partition("/")[0]
        self._splits = {True: train_split, False: val_split}
        self._given_classes = num_classes
        self._keys = {"input_key": image_key, "target_key": label_key}
        self._batch_size = batch_size
        self._num_workers = num_workers
        self._opened: dict[bool, ImageDataset] = {}
        self._shards: dict[bool, Shards] = {}
        self._adopted: tuple[str, ...] | None = None

    @property
    def num_classes(self) -> int:
        """Return the given number of classes, or else the data set's, or else 1000."""
        return len(self._adopted or ()) or self._own_classes

    @cached_property
    def _own_classes(self) -> int:
        return self._given_classes or len(self._own_names or ()) or _CLASSES

    @cached_property
    def _own_names(self) -> tuple[str, ...] | None:
        """Return the data set's class names in the order of its labels; None where it has none."""
        reader = self._open(training=False).reader
        listed = getattr(reader, "info", {}).get("class_names")  # as `shards` writes it
        if self._prefix == "hfds":  # timm before 1.0.31 reads those of a column `label` alone
            listed = getattr(reader.dataset.features.get(reader.label_key), "names", None)
        if isinstance(listed, list) and self._given_classes in (None, len(listed)):
            return tuple(map(str, listed))
        places = reader.class_to_idx
        names = tuple(map(str, sorted(places, key=places.__getitem__)))
        return names if names and self._given_classes in (None, len(names)) else None

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Return the name of each output; None where the data set does not know."""
        return self._adopted or self._own_names

    @override
    def adopt_classes(self, names: Sequence[str]) -> None:
        self._adopted = tuple(names)

    @property
    def _outputs(self) -> Sequence[int] | int:
        """Return the output of each of the data set's labels, or how many labels there are."""
        if self._adopted is None or self._own_names is None:
            return self._own_classes
        return [self._adopted.index(name) for name in self._own_names]

    @property
    def present_classes(self) -> tuple[int, ...] | None:
        """Return the outputs that the data set has classes for; None when it has all."""
        outputs = self._outputs
        if isinstance(outputs, int) or len(outputs) == self.num_classes:
            return None
        return tuple(sorted(outputs))

    @override
    def num_train_images(self) -> int:
        if self._prefix == "wds" and (shards := self._find_shards(training=True)):
            return sum(shards.lengths)
        return len(self._open(training=True))

    def check(self, training: bool) -> None:
        """Check that the validation split opens, and the training split if asked for.

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
            check_folder(self.root, self.name, self._splits.values())
        for part in (True, False) if training else (False,):
            try:
                self._open(part)
                if self._prefix == "wds":
                    self._find_shards(part)
            except InputError:
                raise
            except Exception as error:  # libraries raise many kinds on a data set's files
                reason = one_sentence(str(error) or type(error).__name__)
                raise InputError(
                    f"datamodule.dataset={self.name} cannot be opened at root={self.root}, "
                    f"split '{self._splits[part]}': {reason}"
                ) from error

    def dataset(self, training: bool, transform: Transform) -> LabelledImages | ImageStream:
        """Return the images of a split."""
        shards = self._find_shards(training) if self._prefix == "wds" else None
        if shards:
            reader = ShardReader(shards, image_key=self._keys["input_key"])
            return LabelledImages(reader, transform, self._outputs)
        opened = self._open(training)
        if isinstance(opened, IterableImageDataset):
            return ImageStream(opened, transform, self._num_workers, self._outputs)
        return LabelledImages(opened.reader, transform, self._outputs)

    def _open(self, training: bool) -> ImageDataset | IterableImageDataset:
        if training in self._opened:
            return self._opened[training]
        split = self._splits[training]
        keys: dict[str, Any] = {key: value for key, value in self._keys.items() if value}
        if self._prefix == "hfds":
            keys = find_columns(
                self.name.partition("/")[2],
                split,
                self.root,
                image_key=self._keys["input_key"],
                label_key=self._keys["target_key"],
            )
        elif self._prefix == "wds":
            keys = {}
        with self._list_folder() as folder:
            dataset = create_dataset(
                self.name,
                root=folder,
                split=split,
                is_training=training and self._prefix != "wds",
                batch_size=self._batch_size,
                **keys,
            )
        if not isinstance(dataset, IterableImageDataset):
            # A stream reads its rank when it is built, so it is built anew each time.
            self._opened[training] = dataset
        return dataset

    @cached_property
    def _place(self) -> ShardPlace:
        return shard_place(self.root or "")

    @contextmanager
    def _list_folder(self) -> Iterator[str | None]:
        """Offer a folder in which timm finds the list of shards, if there is one."""
        if self._prefix != "wds" or not self.root or not is_address(self.root):
            yield self.root
            return
        with TemporaryDirectory() as folder:
            for name in filter(self._place.has, LISTS):
                shutil.copy(self._place.local(name), Path(folder) / name)
            yield folder

    def _find_shards(self, training: bool) -> Shards | None:
        """Return a split's shards; None where timm does not read them as webdataset's."""
        if training not in self._shards:
            from timm.data.readers.reader_wds import ReaderWds

            reader = self._open(training).reader
            if not isinstance(reader, ReaderWds):
                return None
            split, label_key = self._splits[training], self._keys["target_key"]
            self._shards[training] = find_shards(self._place, split, reader.split_info, label_key)
        return self._shards[training]
