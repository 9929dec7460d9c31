"""Loads photographs without labels from a folder, for tasks that learn from images alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from typing_extensions import Unpack, override

from ..errors import InputError
from ..ranges import Number
from .labelled import LabelledImages, PhotoFiles, check_headers
from .photo_source import PhotoSource, Transform
from .photos import PhotoModule, PhotoSettings
from .targets import IMAGE
from .unlabelled import photographs_in

_PARTS = (("train",), ("val", "validation"))
_CHECKED = 16  # photographs of each part whose headers are read before a training
_NO_LABEL = 0


class Photographs(PhotoModule):
    """Loads all photographs below a folder, at any depth; names of subfolders mean nothing."""

    ranges = {
        "val_every": Number(20, least=2, whole=True),
    }

    targets = (IMAGE,)
    target_words = {IMAGE: "images without labels"}

    def __init__(
        self, *, root: str | None, val_every: int, **photos: Unpack[PhotoSettings]
    ) -> None:
        """Keep the settings; nothing is read before `check`.

        Args:
            root: Folder of the photographs. If it holds `train` and `val` (or `validation`), these
                are the parts.
            val_every: Otherwise every n-th photograph, in the order of their paths, is for
                validation.
            photos: Arguments of `PhotoModule`.
        """
        super().__init__(**photos)
        self._root = root
        self._val_every = val_every

    @cached_property
    @override
    def source(self) -> PhotoSource:
        return PhotographFolder(self._root, self._val_every, skip=self.skip)


class PhotographFolder(PhotoSource):
    """Provides the photographs of a folder without labels."""

    def __init__(self, root: str | None, val_every: int, *, skip: bool = False) -> None:
        """Keep the settings: those of `Photographs`, and `skip` of `ImageFolders`."""
        self._root = root
        self._val_every = val_every
        self._skip = skip

    @property
    @override
    def class_names(self) -> None:
        return None

    @override
    def adopt_classes(self, names: Sequence[str]) -> None:
        """Change nothing: there are no labels."""

    @cached_property
    def _parts(self) -> dict[bool, PhotoFiles]:
        """Return the files of training (True) and validation (False)."""
        if self._root is None:
            raise InputError("datamodule.root is not set: give the folder of the photographs.")
        root = Path(self._root).expanduser()
        if not root.is_dir():
            raise InputError(f"datamodule.root={self._root} is not a folder.")
        folders = [next((root / n for n in ns if (root / n).is_dir()), None) for ns in _PARTS]
        train, val = folders
        if train and val:
            found = {True: list(photographs_in(train)), False: list(photographs_in(val))}
        else:
            files = list(photographs_in(root))
            held_out = files[:: self._val_every]
            kept = [file for n, file in enumerate(files) if n % self._val_every]
            found = {True: kept, False: held_out}
        if not found[True] or not found[False]:
            raise InputError(
                f"datamodule.root={self._root} holds {len(found[True])} photographs for training "
                f"and {len(found[False])} for validation: both need at least one."
            )
        return {
            part: PhotoFiles(root, [(str(file), _NO_LABEL) for file in files])
            for part, files in found.items()
        }

    @override
    def check(self, training: bool) -> None:
        for part in (True, False) if training else (False,):
            samples = self._parts[part].samples
            check_headers([path for path, _ in samples[:_CHECKED]], skip=self._skip)

    @override
    def num_train_images(self) -> int:
        return len(self._parts[True])

    @override
    def dataset(self, training: bool, transform: Transform) -> LabelledImages:
        return LabelledImages(self._parts[training], transform)

    @override
    def val_filenames(self) -> list[str]:
        return self._parts[False].filenames()
