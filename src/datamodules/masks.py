"""Images beside index masks in two trees of folders: ADE20K's published layout, and others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import get_img_extensions
from torch import Tensor
from torchvision import tv_tensors

from ..errors import InputError
from .frames import FramedImages, Frames, open_image, open_rgb
from .targets import IGNORED, Target


class MaskedFrames(Frames):
    """Photographs and the class of each of their pixels.

    While they are transformed a mask holds class + 1, so that 0, which fills, is ignored.
    """

    def __init__(
        self,
        pairs: list[tuple[Path, Path]],
        num_classes: int,
        zero_is_ignored: bool,
        config: dict[str, Any],
        *,
        training: bool,
    ) -> None:
        """Take the files of images and masks."""
        super().__init__(config, training=training)
        self._pairs = pairs
        self._num_classes = num_classes
        self._zero_is_ignored = zero_is_ignored

    def __len__(self) -> int:
        return len(self._pairs)

    def read(self, index: int) -> tuple[Image.Image, dict[str, Tensor]]:
        """See that the mask is as large as the image and holds no class too many."""
        image_path, mask_path = self._pairs[index]
        image, mask = open_rgb(image_path), open_image(mask_path)
        if mask.size != image.size:
            raise InputError(
                f"{mask_path} is {_size(mask)} pixels, but its image {image_path} is "
                f"{_size(image)}: a mask must be as large as its image."
            )
        values = np.asarray(mask)
        if values.ndim != 2:
            raise InputError(
                f"{mask_path} has {values.shape[2]} channels: a mask must have one, whose values "
                "are class indices."
            )
        first = int(self._zero_is_ignored)
        last = first + self._num_classes - 1
        known = values[values != IGNORED]
        if known.size and (known.min() < 0 or known.max() > last):
            wrong = known.min() if known.min() < 0 else known.max()
            raise InputError(
                f"{mask_path} holds the index {wrong}, but the {self._num_classes} classes of "
                f"datamodule.num_classes are {first} to {last} (and {IGNORED} is ignored)."
            )
        indices = np.where(values == IGNORED, 0, values.astype(np.int64) + 1 - first)
        return image, {"mask": tv_tensors.Mask(torch.from_numpy(indices))}

    def finish(self, target: dict[str, Tensor]) -> Target:
        """Back to classes."""
        mask = target["mask"]
        return {"mask": torch.where(mask == 0, IGNORED, mask - 1)}


class Masks(FramedImages):
    """`root/images/<split>/*` and, by the same names, `root/annotations/<split>/*.png`."""

    targets = ("mask",)

    def __init__(
        self,
        *,
        root: str | None,
        num_classes: int,
        reduce_zero_label: bool,
        train_split: str = "training",
        val_split: str = "validation",
        **base: Any,
    ) -> None:
        """Keep the settings.

        Args:
            root: The folder.
            num_classes: Classes, those that are ignored not counted.
            reduce_zero_label: Index 0 is ignored and class i has the index i + 1, as in ADE20K.
            train_split: Folder of the training images, and of their masks.
            val_split: Likewise of validation.
            base: Arguments of `ImageDataModule`.
        """
        super().__init__(**base)
        self._root = root
        self._classes = num_classes
        self._reduce_zero_label = reduce_zero_label
        self._splits = {True: train_split, False: val_split}

    @property
    def num_classes(self) -> int:
        """As it was given."""
        return self._classes

    def check(self, stage: str = "fit", processes: int = 1) -> None:
        """See that each image has a mask.

        Raises:
            InputError: If a folder is missing, or a mask; or too few images for a batch.
        """
        if stage == "fit":
            self.check_batches(len(self._pairs(training=True)), processes)
        self._pairs(training=False)

    def train_dataset(self) -> Any:
        """Scaled, cropped and flipped at random."""
        return self._frames(training=True)

    def val_dataset(self) -> Any:
        """Whole."""
        return self._frames(training=False)

    def val_filenames(self) -> list[str]:
        """Of the images."""
        return [image.name for image, _ in self._pairs(training=False)]

    def _frames(self, *, training: bool) -> MaskedFrames:
        return MaskedFrames(
            self._pairs(training),
            self._classes,
            self._reduce_zero_label,
            self.input_config,
            training=training,
        )

    def _pairs(self, training: bool) -> list[tuple[Path, Path]]:
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
        known = get_img_extensions()
        files = sorted(path for path in images.iterdir() if path.suffix.lower() in known)
        if not files:
            raise InputError(f"{images} holds no images ({' '.join(known)}).")
        pairs = [(path, masks / f"{path.stem}.png") for path in files]
        alone = next((image for image, mask in pairs if not mask.is_file()), None)
        if alone:
            raise InputError(f"{alone} has no mask: {masks / alone.stem}.png is missing.")
        return pairs


_TREES = ("images", "annotations")


def _size(image: Image.Image) -> str:
    return f"{image.width}x{image.height}"
