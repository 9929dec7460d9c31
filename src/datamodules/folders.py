"""Labelled images in folders, `root/<split>/<class>/*`: found, checked and read."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, UnidentifiedImageError
from timm.data import ImageNetInfo, create_dataset, get_img_extensions
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InputError, one_sentence, some

_IMAGENET_IMAGES = {True: 1_281_167, False: 50_000}  # training: count
# What photographs come in, whatever their names end in. Pillow reads more, and for one of them
# (EPS) runs a program on what the file says.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_MOST_PIXELS = 100_000_000  # 300 MB in memory


class LabelledImages(Dataset[tuple[Tensor, int]]):
    """The RGB images of a timm reader; one that cannot be read is named, where timm passes on."""

    def __init__(self, reader: Any, transform: Callable[[Image.Image], Tensor]) -> None:
        self.reader = reader
        self.transform = transform

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        try:
            file, label = self.reader[index]
            with file:
                image = open_image(file).convert("RGB")
        except Exception as error:  # Pillow's decoders raise whatever they like
            raise _unreadable(self.name(index), error) from error
        return self.transform(image), int(label)

    def name(self, index: int) -> str:
        """Its file, or its number where images are no files."""
        return self.reader.filename(index, absolute=True) or f"image {index}"


class Classes(NamedTuple):
    """Which output of the network stands for which class folder."""

    outputs: dict[str, int]
    num_classes: int


class ImageFolders:
    """`root/train/<class>/*` and `root/val/<class>/*` (or `validation`).

    Folders named by WNIDs of ImageNet-1k get ImageNet's own outputs, in whatever number they are;
    any other class folders get outputs in the order of their sorted names.
    """

    def __init__(
        self, root: str | None, train_split: str, val_split: str, *, skip: bool = False
    ) -> None:
        """Keep the settings; with `skip` an image that cannot be read is no reason to stop."""
        self.root = root
        self._skip = skip
        self._folder_names = {True: [train_split], False: [val_split, "val"]}
        self._readers: dict[bool, Any] = {}

    @cached_property
    def classes(self) -> Classes:
        """Read from the names of the validation folders alone."""
        folder = self._split_folder(training=False)
        names = _class_folders(folder)
        imagenet = {wnid: index for index, wnid in enumerate(ImageNetInfo().label_names())}
        strangers = [name for name in names if name not in imagenet]
        if len(strangers) == len(names):
            return Classes({name: index for index, name in enumerate(names)}, len(names))
        if strangers:
            raise InputError(
                f"{folder} mixes ImageNet-1k WNIDs with other class folders ({some(strangers)}): "
                "keep WNIDs only, or rename all folders."
            )
        return Classes({name: imagenet[name] for name in names}, len(imagenet))

    @property
    def num_classes(self) -> int:
        """1000 for WNIDs, else the number of class folders."""
        return self.classes.num_classes

    @property
    def present_classes(self) -> tuple[int, ...] | None:
        """ImageNet's outputs that a subset has; None when all occur."""
        outputs, num_classes = self.classes
        return None if len(outputs) == num_classes else tuple(sorted(outputs.values()))

    def class_name(self, label: int) -> str:
        """ImageNet's first word for WNIDs, else the folder's name."""
        folder = next(name for name, output in self.classes.outputs.items() if output == label)
        info = ImageNetInfo()
        if folder not in info.label_names():
            return folder
        return info.label_name_to_description(folder).partition(",")[0]

    def check(self, training: bool) -> None:
        """Check the split folders: both for training, else the validation's.

        Raises:
            InputError: One sentence on what is wrong.
        """
        outputs = self.classes.outputs
        if training or self._find(training=True):
            differing = sorted(set(_class_folders(self._split_folder(True))) ^ set(outputs))
            if differing:
                raise InputError(
                    f"datamodule.root={self.root} does not hold the same classes for training and "
                    f"validation: only one of them has {some(differing)}."
                )
        for part in (True, False) if training else (False,):
            self._check_images(part)

    def dataset(self, training: bool, transform: Callable[[Image.Image], Tensor]) -> LabelledImages:
        """The images of a split, in the order of their paths."""
        return LabelledImages(self._reader(training), transform)

    def val_filenames(self) -> list[str]:
        """`<class>/<file>` of every validation image, in the order of evaluation."""
        names: list[str] = self._reader(training=False).filenames()
        return names

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

    def _reader(self, training: bool) -> Any:
        """The reader that timm makes; the folders are walked once."""
        if training not in self._readers:
            folder = self._split_folder(training)
            try:
                self._readers[training] = create_dataset(
                    "", root=str(folder), search_split=False, class_map=self.classes.outputs
                ).reader
            except RuntimeError as error:
                raise InputError(
                    f"the class folders of {folder} hold no images ({_extensions()})."
                ) from error
        return self._readers[training]

    def _check_images(self, training: bool) -> None:
        """One image at least in every class, and the first one has an image's header."""
        folder = self._split_folder(training)
        samples: list[tuple[str, int]] = self._reader(training).samples
        first: dict[int, str] = {}
        for path, label in samples:
            first.setdefault(label, path)
        outputs, num_classes = self.classes
        empty = [name for name, output in outputs.items() if output not in first]
        if empty:
            raise InputError(
                f"{folder} has class folders without images ({_extensions()}): {some(empty)}."
            )
        for path in () if self._skip else first.values():
            try:
                open_image(path).close()
            except Exception as error:
                raise _unreadable(path, error) from error
        expected = _IMAGENET_IMAGES[training]
        if len(outputs) == num_classes == 1000 and len(samples) != expected:
            warnings.warn(
                f"{folder} holds {len(samples):,} images, ImageNet-1k {expected:,}.", stacklevel=2
            )


def open_image(file: Any) -> Image.Image:
    """Read an image's header, and no more.

    Raises:
        ValueError: If it declares more pixels than a photograph has.
        UnidentifiedImageError: If it is in none of the usual formats.
    """
    image = Image.open(file, formats=_FORMATS)
    if image.width * image.height > _MOST_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels, more than a photograph has")
    return image


def _class_folders(split: Path) -> list[str]:
    entries = [entry for entry in os.scandir(split) if not entry.name.startswith(".")]
    names = sorted(entry.name for entry in entries if entry.is_dir())
    if not names:
        raise InputError(
            f"{split} holds {len(entries)} files but no class folders: "
            "sort the images into one folder per class."
        )
    return names


def _unreadable(name: str, error: Exception) -> InputError:
    known = isinstance(error, UnidentifiedImageError)
    reason = f"no image format among {' '.join(_FORMATS)}" if known else one_sentence(str(error))
    return InputError(
        f"{name} cannot be read as an image ({reason.rstrip('.')}): replace or remove it, or "
        "leave such images out with datamodule.on_bad_image=skip."
    )


def _extensions() -> str:
    return " ".join(get_img_extensions())
