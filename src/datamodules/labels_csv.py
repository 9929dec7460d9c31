"""Loads photographs that csv files list, each with any number of classes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from typing_extensions import Unpack, override

from ..errors import InputError, some, spelled
from ..ranges import Text
from .label_lists import HEADERS, Listing, read_listing
from .label_sets import LABELS, TARGET_WORDS
from .labelled import LabelledImages, PhotoFiles, check_headers
from .photos import PhotoModule, PhotoSettings, PhotoSource
from .shared_files import warn_of_shared


class LabelSets(LabelledImages):
    """Loads photographs with a row of labels each."""

    def __init__(
        self, reader: PhotoFiles, transform: Callable[[Image.Image], Tensor], labels: Tensor
    ) -> None:
        """Read from `reader`, whose labels are numbers of rows of `labels (N, classes)`."""
        super().__init__(reader, transform)
        self.labels = labels

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Return the image `(3, S, S)` and its labels `(classes,)`."""
        image, row = super().__getitem__(index)
        return image, self.labels[row]


class CsvPhotos(PhotoSource):
    """Provides the photographs of a list for training and another for validation.

    Classes are those of the training list, where there is one, else of the other, sorted. The
    validation list may lack some of them.
    """

    def __init__(self, root: str | None, train_csv: str, val_csv: str, *, skip: bool) -> None:
        """Keep the settings; nothing is read before `check`.

        Args:
            root: Folder of the photographs.
            train_csv: The training list's file, relative to `root`.
            val_csv: The validation list's file, relative to `root`.
            skip: Accept photographs that are missing.
        """
        self.root = root
        self._names = {True: train_csv, False: val_csv}
        self._skip = skip
        self._listings: dict[bool, Listing] = {}
        self._adopted: tuple[str, ...] | None = None

    @property
    @override
    def class_names(self) -> tuple[str, ...]:
        return self._adopted or self._listed

    @cached_property
    def _listed(self) -> tuple[str, ...]:
        return self._listing(training=self._file(training=True).is_file()).classes

    @property
    @override
    def present_classes(self) -> tuple[int, ...] | None:
        found = set(self._listing(training=False).classes)
        present = [output for output, name in enumerate(self.class_names) if name in found]
        return None if len(present) == self.num_classes else tuple(present)

    @override
    def adopt_classes(self, names: Sequence[str]) -> None:
        self._adopted = tuple(names)

    @override
    def check(self, training: bool) -> None:
        unknown = sorted(set(self._listing(training=False).classes) - set(self.class_names))
        if unknown:
            raise InputError(
                f"{self._file(training=False)} has classes that {self._file(training=True)} lacks "
                f"({some([*map(spelled, unknown)])}): give the training list images of them, or "
                "correct the names."
            )
        for part in (True, False) if training else (False,):
            self._check_photographs(part)
        if training:
            trained, validation = (self._reader(part).samples for part in (True, False))
            warn_of_shared(trained, validation, "photographs")

    @override
    def num_train_images(self) -> int:
        return len(self._listing(training=True).paths)

    @override
    def dataset(self, training: bool, transform: Callable[[Image.Image], Tensor]) -> LabelSets:
        listing = self._listing(training)
        labels = torch.tensor(
            [
                [given.get(name, listing.absent) for name in self.class_names]
                for given in listing.labels
            ]
        )
        return LabelSets(self._reader(training), transform, labels)

    @override
    def val_filenames(self) -> list[str]:
        return self._reader(training=False).filenames()

    def _file(self, training: bool) -> Path:
        return self._folder / Path(self._names[training]).expanduser()

    @property
    def _folder(self) -> Path:
        if self.root is None or not Path(self.root).expanduser().is_dir():
            raise InputError(
                f"datamodule.root={'null' if self.root is None else self.root} is not a folder: "
                "give the one that the paths in the csv files start from, or try "
                "datamodule=digits_sets."
            )
        return Path(self.root).expanduser()

    def _listing(self, training: bool) -> Listing:
        if training not in self._listings:
            file = self._file(training)
            if not file.is_file():
                setting = f"datamodule.{'train' if training else 'val'}_csv"
                raise InputError(
                    f"{setting}={self._names[training]} is not a file in {self.root}: give a csv "
                    f"file with the header {HEADERS}."
                )
            self._listings[training] = read_listing(file)
        return self._listings[training]

    def _reader(self, training: bool) -> PhotoFiles:
        paths = (str(self._folder / path) for path in self._listing(training).paths)
        return PhotoFiles(self._folder, [(path, row) for row, path in enumerate(paths)])

    def _check_photographs(self, training: bool) -> None:
        """Check that photographs exist, and the header of the first one of every class."""
        paths = [path for path, _ in self._reader(training).samples]
        missing = [] if self._skip else [path for path in paths if not os.path.isfile(path)]
        if missing:
            raise InputError(
                f"{self._file(training)} lists photographs that are not there ({some(missing)}): "
                "correct or remove their lines, or leave them out with "
                "datamodule.on_bad_image=skip."
            )
        first: dict[str, str] = {}
        for path, given in zip(paths, self._listing(training).labels, strict=True):
            for name in given:
                first.setdefault(name, path)
        check_headers(sorted(set(first.values())), skip=self._skip)


class LabelsCsv(PhotoModule):
    """Loads photographs that `root/<train_csv>` and `root/<val_csv>` list with their classes."""

    ranges = {"train_csv": Text("train.csv"), "val_csv": Text("val.csv")}

    targets = (LABELS,)
    target_words = TARGET_WORDS

    def __init__(
        self, *, root: str | None, train_csv: str, val_csv: str, **photos: Unpack[PhotoSettings]
    ) -> None:
        """Keep the settings; nothing is read before `check`.

        Args:
            root: Folder from which the paths in the files start.
            train_csv: Name of the training list's file.
            val_csv: Name of the validation list's file.
            photos: Arguments of `PhotoModule`.
        """
        super().__init__(**photos)
        self._parts = (root, train_csv, val_csv)

    @cached_property
    @override
    def source(self) -> CsvPhotos:
        return CsvPhotos(*self._parts, skip=self.skip)
