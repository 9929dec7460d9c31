"""Loads images and index masks from two trees of folders, as ADE20K publishes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from typing_extensions import Unpack, override

from ..errors import InputError
from ..ranges import Kind, Text
from .frames import FramedImages, Frames, open_image, open_rgb
from .given_names import read_names
from .inputs import InputConfig
from .mixing import MixingSettings
from .pairs import find_pairs
from .pixel_values import PixelValues
from .targets import IGNORED, Target

_TREES = ("images", "annotations")
_FORMATS = ("PNG", "TIFF", "BMP")  # Pillow's names of formats that keep every value
_LOSSY = ("jpeg", "tiff_jpeg", "webp")  # compressions of TIFF


class MaskedFrames(Frames):
    """Reads photographs with the class of each pixel.

    During transforms a mask holds class + 1, so that padding with 0 is ignored.
    """

    def __init__(
        self,
        pairs: list[tuple[Path, Path]],
        values: PixelValues,
        config: InputConfig,
        *,
        training: bool,
    ) -> None:
        """Take the files of images and masks."""
        super().__init__(config, training=training)
        self._pairs = pairs
        self._values = values

    def __len__(self) -> int:
        return len(self._pairs)

    def read(self, index: int) -> tuple[Image.Image, dict[str, Tensor]]:
        """Return a photograph and its mask, checked to be of one size and of known values."""
        image_path, mask_path = self._pairs[index]
        pixels = read_pixels(mask_path)
        classes = self._values.classes(pixels, mask_path)
        height, width = classes.shape
        image = open_rgb(image_path, (width, height))
        if image.size != (width, height):
            raise InputError(
                f"{mask_path} is {width}x{height} pixels, but its image {image_path} is "
                f"{image.width}x{image.height}: a mask must be as large as its image."
            )
        return image, {"mask": tv_tensors.Mask(torch.from_numpy(classes))}

    def finish(self, target: dict[str, Tensor]) -> Target:
        """Turn the values of a transformed mask back into classes."""
        mask = target["mask"]
        return {"mask": torch.where(mask == 0, IGNORED, mask - 1)}


class Masks(FramedImages):
    """Loads `root/images/<split>/*` and, under the same names, `root/annotations/<split>/*.png`."""

    ranges = {
        "reduce_zero_label": Kind(bool, "true or false", needed=False),
        "train_split": Text("training"),
        "val_split": Text("validation"),
    }

    targets = ("mask",)

    def __init__(
        self,
        *,
        root: str | None,
        num_classes: int | None,
        reduce_zero_label: bool,
        values: Sequence[int] | None = None,
        class_names: Sequence[str] | str | None = None,
        train_split: str = "training",
        val_split: str = "validation",
        **base: Unpack[MixingSettings],
    ) -> None:
        """Keep the settings.

        Args:
            root: The data set's folder.
            num_classes: Number of classes without ignored ones; None for the number of
                `class_names`.
            reduce_zero_label: Index 0 is ignored and class i has the index i + 1, as in ADE20K.
            values: The value of each class in order, such as [0, 255] for an object drawn in white;
                None where it is the index.
            class_names: The name of each class in order, or a text file with one name per line;
                None where they are unknown.
            train_split: Folder of the training images, and of their masks.
            val_split: Folder of the validation images, and of their masks.
            base: Arguments of `FramedImages`.

        Raises:
            InputError: If `class_names` are not names, or not `num_classes` of them.
        """
        super().__init__(**base)
        self._root = root
        self._class_names = read_names(class_names, num_classes)
        count = num_classes if num_classes or not self._class_names else len(self._class_names)
        self._values = PixelValues(count, reduce_zero_label, values)  # type: ignore[arg-type]
        self._splits = {True: train_split, False: val_split}
        self._found: dict[bool, list[tuple[Path, Path]]] = {}

    @property
    def num_classes(self) -> int:
        """Return the given number of classes, or the number of their names."""
        return self._values.num_classes

    @property
    @override
    def class_names(self) -> tuple[str, ...] | None:
        return self._class_names

    def check(self, stage: str = "fit", processes: int = 1) -> None:
        """Check that each image has a mask, and that the masks hold known values.

        Raises:
            InputError: If a folder or a mask is missing; if there are too few images for a batch,
                or only one class in the masks.
        """
        self._values.check()
        if stage == "fit":
            self.check_batches(len(self._pairs(training=True)), processes)
        for training in (True, False) if stage == "fit" else (False,):
            masks = [mask for _, mask in self._pairs(training)]
            self._values.check_split(masks, read_pixels, training=training)

    def train_dataset(self) -> Frames:
        """Return the training images: scaled, cropped and flipped at random."""
        return self._frames(training=True)

    @override
    def val_dataset(self) -> Frames:
        return self._frames(training=False)

    def val_filenames(self) -> list[str]:
        """Return the files of the validation images below their folder."""
        folder = self._folders(training=False)[0]
        pairs = self._pairs(training=False)
        return [image.relative_to(folder).as_posix() for image, _ in pairs]

    @override
    def val_size(self, index: int) -> tuple[int, int]:
        with open_image(self._pairs(training=False)[index][1]) as mask:
            return mask.size

    def _frames(self, *, training: bool) -> MaskedFrames:
        return MaskedFrames(
            self._pairs(training), self._values, self.input_config, training=training
        )

    def _pairs(self, training: bool) -> list[tuple[Path, Path]]:
        if training not in self._found:
            self._found[training] = find_pairs(*self._folders(training))
        return self._found[training]

    def _folders(self, training: bool) -> tuple[Path, Path]:
        """Return the folders of images and of masks."""
        if self._root is None:
            raise InputError(
                "datamodule.root is not set: give a folder that holds images/ and annotations/, or "
                "try datamodule=digits_scenes."
            )
        split = self._splits[training]
        images, masks = (Path(self._root).expanduser() / n / split for n in _TREES)
        for folder in (images, masks):
            if not folder.is_dir():
                raise InputError(
                    f"There is no folder {folder}: datamodule.root={self._root} should hold "
                    f"images/{split}/* and annotations/{split}/*.png."
                )
        return images, masks


def read_pixels(path: Path) -> npt.NDArray[np.generic]:
    """Return the values of a mask as stored; with a palette these are its indices.

    Raises:
        InputError: If it cannot be read, or its format may change values.
    """
    with open_image(path) as mask:
        if mask.format not in _FORMATS or mask.info.get("compression") in _LOSSY:
            raise InputError(
                f"{path} is a file of {mask.format}, which changes values: save masks as "
                f"{', '.join(_FORMATS)}, without the compression of photographs."
            )
        pixels = np.array(mask)
        return pixels // _stretched(path) if (mask.format, mask.mode) == ("PNG", "L") else pixels


def _stretched(path: Path) -> int:
    """Return by what Pillow multiplies the gray values of a png, to fill 8 bits with 2 or 4."""
    with path.open("rb") as file:
        bits = file.read(25)[24]  # behind signature, length, IHDR, width and height
    return {2: 85, 4: 17}.get(bits, 1)
