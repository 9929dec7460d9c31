"""Finds the videos of a data set and their classes, as far as all layouts have it in common."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from typing_extensions import override

from ..errors import InputError, some
from .fields import shown
from .photo_source import LabelledSource
from .shared_files import warn_of_shared


class ClipFiles(LabelledSource):
    """Knows the videos of a training and a validation part; subclasses know their layout."""

    def __init__(self, root: str | None) -> None:
        """Keep the folder; nothing is read before `check`."""
        self._root = root
        self._found: dict[bool, list[tuple[str, str]]] = {}
        self._adopted: tuple[str, ...] | None = None

    @abstractmethod
    def find(self, training: bool) -> list[tuple[str, str]]:
        """Return the path and the class of each video of a part, in a fixed order.

        Raises:
            InputError: If the part does not have this layout.
        """

    @abstractmethod
    def declared_classes(self) -> Sequence[str]:
        """Return the name of each class in the order of the network's outputs.

        Raises:
            InputError: If they cannot be found.
        """

    @property
    def root(self) -> Path:
        """Return the data set's folder.

        Raises:
            InputError: If there is none.
        """
        if self._root is None:
            raise InputError(
                "datamodule.root is not set: give the folder of the videos, datamodule.root=DIR, "
                "or try the embedded data with datamodule=moving_digits."
            )
        root = Path(self._root).expanduser()
        if not root.is_dir():
            raise InputError(
                f"datamodule.root={self._root} is not a folder: give that of the videos."
            )
        return root

    @property
    @override
    def class_names(self) -> tuple[str, ...]:
        return self._adopted or self._declared

    @cached_property
    def _declared(self) -> tuple[str, ...]:
        return tuple(self.declared_classes())

    @property
    @override
    def present_classes(self) -> tuple[int, ...] | None:
        present = sorted({label for _, label in self.samples(training=False)})
        return None if len(present) == self.num_classes else tuple(present)

    @override
    def adopt_classes(self, names: Sequence[str]) -> None:
        self._adopted = tuple(names)

    @override
    def check(self, training: bool) -> None:
        validation = self.samples(training=False)
        if not training:
            return
        trained = self.samples(training=True)
        never = sorted({label for _, label in validation} - {label for _, label in trained})
        if never:
            raise InputError(
                f"datamodule.root={self._root} has no training videos of "
                f"{some([shown(self.class_names[label]) for label in never])}, which validation "
                "has: add some, or correct the names of the classes."
            )
        warn_of_shared(trained, validation, "videos")

    @override
    def num_train_images(self) -> int:
        return len(self._videos(training=True))

    def samples(self, training: bool) -> list[tuple[str, int]]:
        """Return the path and the output of each video of a part.

        Raises:
            InputError: If there are none, or one has a class that is not declared.
        """
        outputs = {name: output for output, name in enumerate(self.class_names)}
        videos = self._videos(training)
        unknown = sorted({name for _, name in videos} - outputs.keys())
        if unknown:
            raise InputError(
                f"datamodule.root={self._root} has {'training' if training else 'validation'} "
                f"videos of {some([shown(name) for name in unknown])}, and the classes are "
                f"{some(self.class_names)}: correct the names or the list of classes."
            )
        return [(path, outputs[name]) for path, name in videos]

    @override
    def val_filenames(self) -> list[str]:
        return [os.path.relpath(path, self.root) for path, _ in self._videos(training=False)]

    def _videos(self, training: bool) -> list[tuple[str, str]]:
        """Return the result of `find`, which is called once."""
        if training not in self._found:
            found = self.find(training)
            if not found:
                part = "training" if training else "validation"
                raise InputError(f"datamodule.root={self._root} has no {part} videos.")
            labels: dict[str, str] = {}
            for path, label in found:
                other = labels.setdefault(os.path.normpath(path), label)
                if other != label:
                    raise InputError(
                        f"{path} is listed with the classes {shown(other)} and {shown(label)}: a "
                        "video has one."
                    )
            self._found[training] = found
        return self._found[training]


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that is not blank.

    Raises:
        InputError: If it is not text in UTF-8.
        OSError: If there is no such file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeError as error:
        raise InputError(f"{path} is not text in UTF-8: convert it.") from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line.strip()
