"""Finds and checks labelled images in folders, `root/<split>/<class>/*`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from timm.data import ImageNetInfo
from typing_extensions import override

from ..errors import InputError, some, spelled
from .decoding import SUFFIXES
from .labelled import LabelledImages, PhotoFiles, check_headers
from .photo_source import PhotoSource, Transform
from .shared_files import warn_of_shared_folders
from .walking import class_folders, find_images, natural_key

log = logging.getLogger(__name__)

_IMAGENET_IMAGES = {True: 1_281_167, False: 50_000}  # of the training part, and of validation


class Classes(NamedTuple):
    """Maps class folders to outputs of the network; `names` has one for each output."""

    outputs: dict[str, int]
    names: tuple[str, ...]


class ImageFolders(PhotoSource):
    """Provides `root/train/<class>/*` and `root/val/<class>/*` (or `validation`).

    Folders named by WNIDs of ImageNet-1k get ImageNet's own outputs, also if they are a subset. Any
    other class folders, and WNIDs whose number is given, get outputs in timm's order of names.
    """

    def __init__(
        self,
        root: str | None,
        train_split: str,
        val_split: str,
        *,
        num_classes: int | None = None,
        skip: bool = False,
    ) -> None:
        """Keep the settings; nothing is read before `check`.

        Args:
            root: The data set's folder.
            train_split: Name of the training part's folder.
            val_split: Name of the validation part's folder; `validation` may be called `val`.
            num_classes: The number of class folders, where WNIDs should have outputs of their own.
            skip: Accept images that cannot be read.
        """
        self.root = root
        self._skip = skip
        self._given_classes = num_classes
        also = ["val"] if val_split == "validation" else []
        self._folder_names = {True: [train_split], False: [val_split, *also]}
        self._readers: dict[bool, PhotoFiles] = {}
        self._adopted: tuple[str, ...] | None = None

    @cached_property
    def classes(self) -> Classes:
        """Return the classes, read from the names of the validation folders alone."""
        folder = self._split_folder(training=False)
        found, given = class_folders(folder), self._given_classes
        imagenet = ImageNetInfo().label_names()
        others = [name for name in found if name not in set(imagenet)]
        if self._adopted is not None:
            names = self._adopted
        elif not others and given in (None, len(imagenet)):
            names = tuple(imagenet)
        elif others and len(others) < len(found) and given is None:
            raise InputError(
                f"{folder} mixes ImageNet-1k WNIDs with other class folders ({some(others)}): "
                "keep WNIDs only, rename all folders, or give "
                f"datamodule.num_classes={len(found)} for outputs of their own in the order of "
                "their names."
            )
        else:
            names = tuple(found)
        places = {name: output for output, name in enumerate(names)}
        return Classes({name: places[name] for name in found}, names)

    @property
    def num_classes(self) -> int:
        """Return 1000 for WNIDs, else the number of class folders."""
        return len(self.classes.names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the class folder of each output."""
        return self.classes.names

    @property
    def present_classes(self) -> tuple[int, ...] | None:
        """Return the outputs that a subset of the classes has; None when all occur."""
        outputs, names = self.classes
        return None if len(outputs) == len(names) else tuple(sorted(outputs.values()))

    @override
    def adopt_classes(self, names: Sequence[str]) -> None:
        self._adopted = tuple(names)
        self._readers.clear()
        self.__dict__.pop("classes", None)  # read anew

    def class_name(self, label: int) -> str:
        """Return ImageNet's first word for a WNID, else the folder's name."""
        folder, info = self.classes.names[label], ImageNetInfo()
        if folder not in info.label_names():
            return folder
        return info.label_name_to_description(folder).partition(",")[0]

    def check(self, training: bool) -> None:
        """Check the folders of validation, and those of training if asked for.

        Raises:
            InputError: One sentence on what is wrong.
        """
        outputs = self.classes.outputs
        self._check_given(training)
        if training or self._find(training=True):
            differing = sorted(set(class_folders(self._split_folder(True))) ^ set(outputs))
            if differing:
                raise InputError(
                    f"datamodule.root={self.root} does not hold the same classes for training and "
                    f"validation: only one of them has {some([*map(spelled, differing)])}."
                )
        for part in (True, False) if training else (False,):
            self._check_images(part)
        if training:
            warn_of_shared_folders(self._split_folder(True), self._split_folder(False), [*outputs])
        self._describe_outputs()

    def dataset(self, training: bool, transform: Transform) -> LabelledImages:
        """Return the images of a split in the order of their paths."""
        return LabelledImages(self._reader(training), transform)

    def files(self, training: bool) -> PhotoFiles:
        """Return the files of a split in the order of their paths."""
        return self._reader(training)

    @override
    def num_train_images(self) -> int:
        return len(self._reader(training=True))

    def val_filenames(self) -> list[str]:
        """Return `<class>/<file>` of every validation image, in the order of evaluation."""
        return self._reader(training=False).filenames()

    def _split_folder(self, training: bool) -> Path:
        if self.root is None:
            raise InputError(
                "datamodule.root is not set: give ImageNet's folder, datamodule.root=/path/to/"
                "imagenet, or try the embedded data with datamodule=digits."
            )
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise InputError(
                f"datamodule.root={self.root} is not a folder: give one that holds "
                "train/<class>/* and val/<class>/*, or try datamodule=digits."
            )
        found = self._find(training)
        if found is None:
            raise InputError(
                f"datamodule.root={self.root} has no folder '{self._folder_names[training][-1]}': "
                "it should hold train/<class>/* and val/<class>/*."
            )
        return found

    def _find(self, training: bool) -> Path | None:
        folders = [Path(self.root or "").expanduser() / n for n in self._folder_names[training]]
        return next((folder for folder in folders if folder.is_dir()), None)

    def _reader(self, training: bool) -> PhotoFiles:
        """Return the files of a split; its folders are walked once."""
        if training not in self._readers:
            folder, outputs = self._split_folder(training), self.classes.outputs
            found = find_images(folder, sorted(outputs, key=natural_key))
            if not found:
                raise InputError(
                    f"the class folders of {folder} hold no images ({' '.join(SUFFIXES)})."
                )
            samples = [(path, outputs[name]) for path, name in found]
            self._readers[training] = PhotoFiles(folder, samples)
        return self._readers[training]

    def _check_images(self, training: bool) -> None:
        """Check that each class has an image, and that the first of each has an image's header."""
        folder, samples = self._split_folder(training), self._reader(training).samples
        first: dict[int, str] = {}
        for path, label in samples:
            first.setdefault(label, path)
        outputs, names = self.classes
        empty = [name for name, output in outputs.items() if output not in first]
        if empty:
            raise InputError(
                f"{folder} has class folders without images ({' '.join(SUFFIXES)}): {some(empty)}."
            )
        check_headers(list(first.values()), skip=self._skip)
        expected = _IMAGENET_IMAGES[training]
        if len(outputs) == len(names) == 1000 and self._is_imagenet and len(samples) != expected:
            warnings.warn(
                f"{folder} holds {len(samples):,} images, ImageNet-1k {expected:,}.", stacklevel=2
            )

    def _check_given(self, training: bool) -> None:
        """Check the number of classes; evaluation data may lack some of a checkpoint's classes."""
        given, found = self._given_classes, len(self.classes.outputs)
        if given in (None, found, self.num_classes) or (not training and (given or 0) > found):
            return
        raise InputError(
            f"datamodule.num_classes={given} is not the number of class folders in "
            f"{self._split_folder(training=False)}: there are {found}, so give {found} or leave it "
            "null."
        )

    @property
    def _is_imagenet(self) -> bool:
        return self.classes.names == tuple(ImageNetInfo().label_names())

    def _describe_outputs(self) -> None:
        """Warn where a folder's name suggests another output than it has."""
        outputs, names = self.classes
        if self._adopted is not None or self._is_imagenet:
            return
        if all(name.isdecimal() for name in names):
            moved = [(name, output) for name, output in outputs.items() if int(name) != output]
            if moved:
                log.warning(
                    f"The class folders of {self.root} are numbers, but not just 0 to "
                    f"{len(names) - 1}: output i stands for the i-th folder in their order, as "
                    f"output {moved[0][1]} for folder {moved[0][0]}."
                )
        elif set(names) <= set(ImageNetInfo().label_names()):
            log.info(
                f"The {len(names)} WNIDs of {self.root} have outputs 0 to {len(names) - 1} of "
                "their own, in the order of their names."
            )
