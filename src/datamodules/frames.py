"""Fits photographs and their targets into frames: squares of one size, which can be batched."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional
from typing_extensions import Unpack, override

from ..errors import InputError
from . import decoding
from .base import ImageDataModule
from .decoding import decode_rgb, reason
from .inputs import InputConfig
from .loading import LoadingSettings
from .mixing import MixupOptions, refuse_mixup
from .preprocessing import FRAME, Preprocessing
from .targets import Target, collate

JITTER = (0.5, 2.0)  # in training, over the scale at which the photograph fills the frame
_ON_THEIR_SIDE = (5, 6, 7, 8)  # EXIF orientations that swap width and height


class PadTo(v2.Transform):
    """Pads with zeros, at the right and at the bottom, to a square."""

    def __init__(self, size: int) -> None:
        """Pad to `size` pixels."""
        super().__init__()
        self.size = size

    def transform(self, inpt: Tensor, params: dict[str, object]) -> Tensor:
        """Pad one image, mask or set of boxes."""
        height, width = functional.get_size(inpt)
        return functional.pad(inpt, [0, 0, self.size - width, self.size - height])


def frame(config: InputConfig, *, training: bool) -> v2.Transform:
    """Return the transform that normalizes a photograph and fits it and its target into a square.

    In training they are scaled, cropped and flipped at random; else the longer side fills the
    square. The rest of the square is 0.

    Args:
        config: `ImageDataModule.input_config`.
        training: Whether to augment.
    """
    size = config.image_size
    prepare = [
        v2.ToImage(),
        v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
        v2.Normalize(*config.normalization),
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
    """Reads the photographs and targets of a split."""

    collate = staticmethod(collate)

    def __init__(self, config: InputConfig, *, training: bool) -> None:
        """Choose the transform; `config` is `ImageDataModule.input_config`."""
        self._transform = frame(config, training=training)

    @abstractmethod
    def __len__(self) -> int:
        """Return how many images there are."""

    @abstractmethod
    def read(self, index: int) -> tuple[Image.Image, dict[str, Tensor]]:
        """Return a photograph and its target as tv_tensors, at its own size; 0 pads both."""

    @abstractmethod
    def finish(self, target: dict[str, Tensor]) -> Target:
        """Turn a framed target into what tasks learn from."""

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        """Return the normalized image `(3, S, S)` and its target."""
        image, target = self._transform(*self.read(index))
        plain = {name: value.as_subclass(Tensor) for name, value in target.items()}
        return image.as_subclass(Tensor), self.finish(plain)


class FramedImages(ImageDataModule):
    """Loads photographs with targets: a batch is images `(B, 3, S, S)` and a list of targets."""

    def __init__(
        self, *, mixup: MixupOptions | None = None, **loading: Unpack[LoadingSettings]
    ) -> None:
        """Refuse mixup, which mixes labels alone, and keep the other settings.

        Raises:
            InputError: If mixup is asked for.
        """
        refuse_mixup(mixup, self.targets)
        super().__init__(**loading)

    @property
    @override
    def preprocessing(self) -> Preprocessing:
        return Preprocessing.of(asdict(self.input_config) | {"interpolation": "bilinear"}, FRAME)


def open_rgb(path: Path, size: tuple[int, int] | None = None) -> Image.Image:
    """Return the image in `path` in RGB; `size` as in `open_image`.

    Raises:
        InputError: If it cannot be read.
    """
    with _named(path):
        image = decoding.open_image(path)
        return decode_rgb(image, upright=_to_be_turned(image, size))


def open_image(path: Path, size: tuple[int, int] | None = None) -> Image.Image:
    """Return the image in `path` in its own mode, decoded.

    Args:
        path: The file.
        size: Width and height in pixels that its target was drawn on. The image is turned as its
            EXIF orientation says if it has this size only then, else left as stored.

    Raises:
        InputError: If it cannot be read.
    """
    with _named(path):
        image = decoding.open_image(path)
        turn = _to_be_turned(image, size)
        image.load()
        return ImageOps.exif_transpose(image) if turn else image


def _to_be_turned(image: Image.Image, size: tuple[int, int] | None) -> bool:
    """Return whether the image has this size only when turned as its EXIF orientation says."""
    if size is None or image.size == size or image.size != size[::-1]:
        return False
    return image.getexif().get(ExifTags.Base.Orientation) in _ON_THEIR_SIDE


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into a sentence that names the file."""
    try:
        yield
    except Exception as error:  # Pillow's decoders raise whatever they like
        raise InputError(
            f"{path} cannot be read as an image ({reason(error)}): replace or remove it."
        ) from error
