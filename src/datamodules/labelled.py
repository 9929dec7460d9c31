"""Reads photographs with one class each, and names those that cannot be read."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InputError, some
from .decoding import (
    check_regular,
    decode_rgb,
    is_nearly_black,
    is_transparent,
    open_image,
    reason,
)
from .labels import checked_label
from .photo_source import Transform

log = logging.getLogger(__name__)


class ImageInputError(InputError):
    """Says that one image cannot be read; others of its data set may be fine."""


class UnlabelledImage(ImageInputError):
    """Says that an image has no label, so that it is skipped; this is not an error."""


class PhotoReader(Protocol):
    """Opens images by number, each with its label as it is stored; timm's readers do.

    A reader whose files hold several images each has `lengths`, the number of images of each file.
    One that may raise `UnlabelledImage` has `may_lack_labels` set.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[BinaryIO, object]: ...

    def filename(self, index: int, *, absolute: bool) -> str | None:
        """Return an image's path, or None where images are not files."""


class LabelledImages(Dataset[tuple[Tensor, int]]):
    """Decodes a reader's images to RGB, and refuses one that cannot be read, which timm skips."""

    kind = "images"

    def __init__(
        self,
        reader: PhotoReader,
        transform: Transform,
        outputs: Sequence[int] | int | None = None,
    ) -> None:
        """Read from `reader`; `outputs` is as in `checked_label`."""
        self.reader = reader
        self.lengths: Sequence[int] | None = getattr(reader, "lengths", None)
        self.may_lack_labels: bool = getattr(reader, "may_lack_labels", False)
        self.transform = transform
        self._outputs = outputs

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        try:
            file, label = self.reader[index]
            with file:
                image = decode_rgb(open_image(file))
        except (InputError, IndexError):
            raise
        except Exception as error:  # Pillow's decoders raise whatever they like
            raise _unreadable(self.name(index), error) from error
        label = checked_label(label, self._outputs, lambda: self.name(index))
        return self.transform(image), label

    def name(self, index: int) -> str:
        """Return an image's file, or its number where images are not files."""
        return self.reader.filename(index, absolute=True) or f"image {index}"


class PhotoFiles:
    """Lists files with a label each, with the methods of timm's readers."""

    def __init__(self, root: Path, samples: list[tuple[str, int]]) -> None:
        """Keep the list.

        Args:
            root: Folder below which `filename` names them.
            samples: The path and the label of each.
        """
        self.root = root
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[BinaryIO, int]:
        path, label = self.samples[index]
        check_regular(path)
        return open(path, "rb"), label

    def filename(self, index: int, *, absolute: bool = False) -> str:
        """Return a file's path, or its part below the root."""
        path = self.samples[index][0]
        return path if absolute else os.path.relpath(path, self.root)

    def filenames(self) -> list[str]:
        """Return the paths of all images below the root."""
        return [self.filename(index) for index in range(len(self))]


def check_headers(paths: Sequence[str], *, skip: bool) -> None:
    """Open files as images, and warn of those whose colors may come out wrong.

    Args:
        paths: The files.
        skip: Whether a file that cannot be opened is no error.

    Raises:
        ImageInputError: For a file that cannot be opened.
    """
    transparent, dark = [], []
    for path in paths:
        try:
            with open_image(path) as image:
                transparent += [path] if is_transparent(image) else []
                dark += [path] if is_nearly_black(image) else []
        except Exception as error:
            if not skip:
                raise _unreadable(path, error) from error
    if transparent:
        log.warning(
            f"{some(transparent)} can be transparent: such images are laid on a white ground, "
            "where timm and torchvision show the hidden colors."
        )
    if dark:
        log.warning(
            f"{some(dark)} have more than 8 bits and no value above 4095: they "
            "are read as 16 bits and nearly black, so rescale them if they hold 12 bits."
        )


def _unreadable(name: str, error: Exception) -> ImageInputError:
    return ImageInputError(
        f"{name} cannot be read as an image ({reason(error)}): replace or remove it, or "
        "leave such images out with datamodule.on_bad_image=skip."
    )
