"""Labelled images that timm opens by name: webdataset, Hugging Face and TensorFlow data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image
from timm.data import create_dataset
from torch import Tensor
from torch.utils.data import IterableDataset

from ..errors import InputError
from .folders import LabelledImages

_PACKAGES = {  # prefix: (module, name for pip)
    "wds": ("webdataset", "webdataset"),
    "hfds": ("datasets", "datasets"),
    "tfds": ("tensorflow_datasets", "tensorflow-datasets"),
}


class ImageStream(IterableDataset[tuple[Tensor, int]]):
    """timm's iterable data set; shards come in another order at every pass."""

    def __init__(
        self, dataset: Any, transform: Callable[[Image.Image], Tensor], num_workers: int
    ) -> None:
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
        return iter(self.dataset)


class NamedImages:
    """A data set by timm's one string, `wds/...`, `hfds/...` or `tfds/...`."""

    def __init__(
        self,
        name: str,
        root: str | None,
        train_split: str,
        val_split: str,
        *,
        num_classes: int | None,
        batch_size: int,
        num_workers: int,
    ) -> None:
        """Keep the settings.

        Args:
            name: timm's string.
            root: Folder of the shards (wds) or of the cache.
            train_split: The set's own name of its training part.
            val_split: The same of its validation part.
            num_classes: Outputs, or None to ask the data set; 1000 where it does not know.
            batch_size: Streams fill whole batches.
            num_workers: Streams are shared out among them.
        """
        self.name = name
        self.root = root
        self._splits = {True: train_split, False: val_split}
        self._given_classes = num_classes
        self._batch_size = batch_size
        self._num_workers = num_workers
        self._opened: dict[bool, Any] = {}

    @cached_property
    def num_classes(self) -> int:
        """As given, as the data set says, or 1000."""
        return self._given_classes or len(self._open(training=False).reader.class_to_idx) or 1000

    @property
    def present_classes(self) -> tuple[int, ...] | None:
        """None: taken to be all."""
        return None

    def val_filenames(self) -> list[str] | None:
        """None: the images are no files."""
        return None

    def class_name(self, label: int) -> str:
        """The label's number."""
        return str(label)

    def check(self, training: bool) -> None:
        """Open the validation split, and the training split if asked for.

        Raises:
            InputError: One sentence on what is wrong.
        """
        prefix = self.name.partition("/")[0]
        if prefix not in _PACKAGES or "/" not in self.name:
            raise InputError(
                f"datamodule.dataset={self.name} is not known: leave it empty for folders, "
                "or write wds/<name>, hfds/<name> or tfds/<name>."
            )
        module, package = _PACKAGES[prefix]
        if find_spec(module) is None:
            raise InputError(
                f"datamodule.dataset={self.name} needs a package: pip install {package}."
            )
        # webdataset would run what follows "pipe:".
        if prefix == "wds" and not Path(self.root or "").expanduser().is_dir():
            raise InputError(
                f"datamodule.dataset={self.name} needs datamodule.root=/folder/of/the/shards, and "
                f"{self.root} is no folder."
            )
        for part in (True, False) if training else (False,):
            try:
                self._open(part)
            except (RuntimeError, OSError, ValueError, LookupError, AssertionError) as error:
                reason = (str(error) or type(error).__name__).splitlines()[0]
                raise InputError(
                    f"datamodule.dataset={self.name} cannot be opened at root={self.root}, "
                    f"split '{self._splits[part]}': {reason}"
                ) from error

    def dataset(
        self, training: bool, transform: Callable[[Image.Image], Tensor]
    ) -> LabelledImages | ImageStream:
        """The images of a split."""
        opened = self._open(training)
        if isinstance(opened, IterableDataset):
            return ImageStream(opened, transform, self._num_workers)
        return LabelledImages(opened.reader, transform)

    def _open(self, training: bool) -> Any:
        if training in self._opened:
            return self._opened[training]
        dataset = create_dataset(
            self.name,
            root=self.root,
            split=self._splits[training],
            is_training=training,
            batch_size=self._batch_size,
        )
        if not isinstance(dataset, IterableDataset):  # a stream asks for its rank when it is built
            self._opened[training] = dataset
        return dataset
