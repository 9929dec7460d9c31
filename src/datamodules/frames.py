"""Photographs with targets in frames: squares of one size, so that any of them make a batch."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from ..errors import InputError, one_sentence
from . import decoding
from .base import ImageDataModule
from .targets import Target, collate

JITTER = (0.5, 2.0)  # of the scale at which the whole photograph fills the frame, in training


class PadTo(v2.Transform):
    """Pads with zeros, at the right and at the bottom, to a square."""

    def __init__(self, size: int) -> None:
        """Pad to `size` pixels."""
        super().__init__()
        self.size = size

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One image, mask or set of boxes."""
        height, width = functional.get_size(inpt)
        return functional.pad(inpt, [0, 0, self.size - width, self.size - height])


def frame(config: dict[str, Any], *, training: bool) -> v2.Transform:
    """A photograph and its target, normalized, in a square; what lies outside of it is 0.

    In training scaled, cropped and flipped at random; else whole, its longer side filling it.

    Args:
        config: `ImageDataModule.input_config`.
        training: Which.
    """
    size = config["input_size"][-1]
    prepare = [
        v2.ToImage(),
        v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
        v2.Normalize(config["mean"], config["std"]),
    ]
    fit: list[v2.Transform] = [v2.Resize(None, max_size=size), PadTo(size)]
    if training:
        fit = [
            v2.ScaleJitter((size, size), JITTER),
            v2.RandomCrop(size, pad_if_needed=True),
            v2.RandomHorizontalFlip(),
        ]
    return v2.Compose([*prepare, *fit])


class Frames(Dataset[tuple[Tensor, Target]]):
    """Photographs and targets of a split."""

    def __init__(self, config: dict[str, Any], *, training: bool) -> None:
        """Choose the transform; `config` is `ImageDataModule.input_config`."""
        self._transform = frame(config, training=training)

    @abstractmethod
    def __len__(self) -> int:
        """How many."""

    @abstractmethod
    def read(self, index: int) -> tuple[Image.Image, dict[str, Tensor]]:
        """The photograph and its target as tv_tensors, at its own size; 0 is what fills them."""

    @abstractmethod
    def finish(self, target: dict[str, Tensor]) -> Target:
        """The target in its frame, as tasks want it."""

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        """The normalized image `(3, S, S)` and its target."""
        image, target = self._transform(*self.read(index))
        plain = {name: value.as_subclass(Tensor) for name, value in target.items()}
        return image.as_subclass(Tensor), self.finish(plain)


class FramedImages(ImageDataModule):
    """What data modules of photographs with targets share: a batch is images and their targets."""

    def _loader(
        self, dataset: Dataset[Any], kind: type[DataLoader[Any]] = DataLoader, **options: Any
    ) -> DataLoader[Any]:
        return super()._loader(dataset, kind, collate_fn=collate, **options)


def open_rgb(path: Path) -> Image.Image:
    """The image in `path`.

    Raises:
        InputError: If it cannot be read.
    """
    image = open_image(path)
    try:
        return decoding.decode_rgb(image)
    except Exception as error:  # Pillow's decoders raise whatever they like
        raise _unreadable(path, error) from error


def open_image(path: Path) -> Image.Image:
    """The image in `path` in its own mode, decoded.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        image = decoding.open_image(path)
        image.load()
    except Exception as error:  # Pillow's decoders raise whatever they like
        raise _unreadable(path, error) from error
    return image


def _unreadable(path: Path, error: Exception) -> InputError:
    known = isinstance(error, UnidentifiedImageError)
    reason = "of none of the usual formats" if known else one_sentence(str(error)).rstrip(".")
    return InputError(f"{path} cannot be read as an image ({reason}): replace or remove it.")
