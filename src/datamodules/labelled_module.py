"""Loads samples with one class each from a source, which knows the classes and the files."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import override

from ..errors import InputError
from .base import ImageDataModule
from .photo_source import LabelledSource
from .readable import LabelledSamples, ReadableImages, Unreadable
from .reading import file_errors_named

log = logging.getLogger(__name__)


class LabelledModule(ImageDataModule, ABC):
    """Takes its classes from a `LabelledSource`, and can leave out samples that cannot be read."""

    def __init__(self, *, on_bad_image: str, **base: Any) -> None:
        """Keep the settings; nothing is read before `check`.

        Args:
            on_bad_image: What to do about a sample that cannot be read: "error" or "skip".
            base: Arguments of the next class.
        """
        super().__init__(**base)
        if on_bad_image not in ("error", "skip"):
            raise InputError(f"datamodule.on_bad_image={on_bad_image} must be error or skip.")
        self.skip = on_bad_image == "skip"
        self._unreadable: dict[bool, Unreadable] = {}
        self._own_names: tuple[str, ...] | None = None  # before a network's were adopted

    @property
    @abstractmethod
    def source(self) -> LabelledSource:
        """Return the source of both parts: the same object at every call."""

    def check_training(self) -> None:
        """Check the settings that training alone needs.

        Raises:
            InputError: One sentence on what is wrong.
        """

    @property
    @override
    def num_classes(self) -> int:
        return self.source.num_classes

    @property
    @override
    def present_classes(self) -> tuple[int, ...] | None:
        """Return the outputs that occur: as the source says, else those of its own classes."""
        present, own, names = self.source.present_classes, self._own_names, self.source.class_names
        if present is not None or not own or names is None or len(own) == len(names):
            return present
        return tuple(sorted(map(names.index, own)))

    @property
    @override
    def class_names(self) -> tuple[str, ...] | None:
        return self.source.class_names

    @override
    def adopt_classes(self, names: Sequence[str]) -> None:
        with file_errors_named():
            if self._own_names is None:
                named, present = self.source.class_names or (), self.source.present_classes
                self._own_names = named if present is None else tuple(named[i] for i in present)
            self.source.adopt_classes(names)

    @override
    def class_name(self, label: int) -> str:
        return self.source.class_name(label)

    @override
    def check(self, stage: str = "fit", processes: int = 1) -> None:
        with file_errors_named():
            self.source.check(training=stage == "fit")
            if stage == "fit":
                self.check_training()
                self.check_batches(self.source.num_train_images(), processes)

    @override
    def val_filenames(self) -> Iterable[str] | None:
        """Return the file of each validation sample in order; None where samples are not files.

        Samples that are left out as unreadable are skipped, once the evaluation has reached them.
        """
        names, samples = self.source.val_filenames(), self.val_dataset()
        if names is None or not isinstance(samples, ReadableImages) or samples.unreadable is None:
            return names
        return samples.unreadable.others(names)

    def teardown(self, stage: str) -> None:
        """Warn of the samples that were left out."""
        for unreadable in self._unreadable.values():
            if summary := unreadable.summary():
                log.warning(summary)

    def readable(self, training: bool, samples: LabelledSamples) -> Dataset[tuple[Tensor, int]]:
        """Return a part's samples without those that cannot be read."""
        if training not in self._unreadable:
            self._unreadable[training] = Unreadable(samples)
        return ReadableImages(samples, self._unreadable[training])
