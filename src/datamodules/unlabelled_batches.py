"""Loads photographs without labels in batches, and leaves out those that cannot be read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import ExifTags, Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from typing_extensions import override

from ..shell.stopping import follow_parent_alone
from .decoding import decode_rgb, open_image, reason
from .frames import frame
from .inputs import InputConfig
from .preprocessing import FRAME, Preprocessing
from .unlabelled import Photograph


class PhotoBatch(NamedTuple):
    """Holds the photographs of a batch that can be read, and why the others cannot.

    Attributes:
        images: `(B, 3, H, W)`, or views of clips, prepared; `(0,)` if none can be read.
        numbers: Their places in the list of photographs.
        sizes: Width and height of each in pixels, before it was prepared.
        unread: Number and reason of each photograph that cannot be read.
        turned: Numbers of those that their EXIF orientation turns when they are shown.
    """

    images: Tensor
    numbers: list[int]
    sizes: list[tuple[int, int]]
    unread: list[tuple[int, str]]
    turned: Sequence[int] = ()


class UnlabelledFiles(Dataset[PhotoBatch], ABC):
    """Decodes and prepares files, and records why one cannot be read."""

    def __init__(self, files: Sequence[Photograph]) -> None:
        """Read `files`."""
        self._files = files

    @abstractmethod
    def prepared(self, path: Path) -> tuple[Tensor, tuple[int, int]]:
        """Return the network's input for a file, and its original width and height; may raise."""

    @abstractmethod
    def original(self, path: Path) -> Image.Image:
        """Return the picture on which a prediction is drawn."""

    def is_turned(self, path: Path) -> bool:
        """Tell whether a file that can be read is shown in another orientation than it is read."""
        return False

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> PhotoBatch:
        """Return file `index` as a batch of its own."""
        path = self._files[index].path
        try:
            prepared, size = self.prepared(path)
            turned = [index] if self.is_turned(path) else []
        except Exception as error:  # decoders raise whatever they like
            return PhotoBatch(torch.zeros(0), [], [], [(index, reason(error))])
        return PhotoBatch(prepared.unsqueeze(0), [index], [size], [], turned)


class UnlabelledPhotos(UnlabelledFiles):
    """Reads photographs as inputs `(3, H, W)`."""

    def __init__(
        self, photographs: Sequence[Photograph], transform: Callable[[Image.Image], Tensor]
    ) -> None:
        """Read `photographs`; `transform` is that of evaluation."""
        super().__init__(photographs)
        self._transform = transform

    @override
    def prepared(self, path: Path) -> tuple[Tensor, tuple[int, int]]:
        image = read_photograph(path)
        return self._transform(image), image.size

    @override
    def original(self, path: Path) -> Image.Image:
        return read_photograph(path)

    @override
    def is_turned(self, path: Path) -> bool:
        with open_image(path) as image:
            return image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)


def evaluation_transform(preprocessing: Preprocessing) -> Callable[[Image.Image], Tensor]:
    """Return what evaluation makes of an RGB image: the input `(3, H, W)` of a network."""
    if preprocessing.crop_mode != FRAME:
        return preprocessing.transform()
    framed = frame(
        InputConfig(
            input_size=(3, *preprocessing.size),
            mean=preprocessing.mean,
            std=preprocessing.std,
            interpolation=preprocessing.interpolation,
            crop_pct=preprocessing.crop_pct,
            crop_mode="center",
        ),
        training=False,
    )
    return lambda image: framed(image).as_subclass(Tensor)


def read_photograph(path: Path) -> Image.Image:
    """Return a photograph in RGB, decoded as by every data module; decoders may raise any error."""
    with open_image(path) as image:
        return decode_rgb(image)


def joined(batches: Sequence[PhotoBatch]) -> PhotoBatch:
    """Join the photographs of several batches in one."""
    images = [batch.images for batch in batches if batch.numbers]
    return PhotoBatch(
        torch.cat(images) if images else torch.zeros(0),
        [number for batch in batches for number in batch.numbers],
        [size for batch in batches for size in batch.sizes],
        [one for batch in batches for one in batch.unread],
        [number for batch in batches for number in batch.turned],
    )


def load_photographs(
    dataset: UnlabelledFiles,
    batch_size: int,
    num_workers: int,
    numbers: Sequence[int] | None = None,
) -> DataLoader[PhotoBatch]:
    """Load photographs in order, all or those of `numbers`; no more processes than batches."""
    chosen = range(len(dataset)) if numbers is None else numbers
    batches = -(-len(chosen) // batch_size)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=chosen,
        num_workers=num_workers if batches > 1 else 0,
        collate_fn=joined,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=follow_parent_alone,
    )
