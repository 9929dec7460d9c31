"""Draws handwritten digits on photographs: the embedded data, which needs no download.

The digits and the two photographs are scikit-learn's. The answer sits on few patches, among
fragments of other digits (as in the cluttered MNIST of Mnih et al., arXiv:1406.6247).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from typing_extensions import Unpack, override

from ..errors import InputError
from ..ranges import Number
from .digit_sources import Array, Sources, blend, enlarge, ink_on
from .mixing import MixingDataModule, MixingSettings
from .preprocessing import Preprocessing
from .targets import Sample

DIGIT = (0.4, 0.5)  # side of a digit with its margin, in image sides: the ink takes 4/5 of it
FRAGMENTS = 4


class Scene(NamedTuple):
    """Holds one drawn image and what is known of it."""

    image: Array  # (3, S, S), 0..1
    label: int
    box: tuple[int, int, int, int]  # top, left, height, width of the digit, in pixels


class DrawnScenes(Dataset[Sample]):
    """Draws scene `i` as a pure function of the seed, the split and `i`, in whichever process.

    Indices beyond the length are valid: they are further scenes of the same kind.
    """

    def __init__(
        self,
        *,
        train: bool,
        length: int,
        image_size: int,
        seed: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        """Prepare the source digits and the photograph of the split."""
        self.sources = Sources(train=train, image_size=image_size)
        self._mean, self._std = (np.asarray(v, np.float32).reshape(3, 1, 1) for v in (mean, std))
        self._size = image_size
        self._key = (seed, int(train))
        self._length = length

    def __len__(self) -> int:
        return self._length

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """Return the normalized image `(3, S, S)` and its target."""


class DigitScenes(DrawnScenes):
    """Draws one digit a scene, beside fragments of others."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return the normalized image `(3, S, S)` and its digit."""
        scene = self.scene(index)
        return torch.from_numpy((scene.image - self._mean) / self._std), scene.label

    def scene(self, index: int) -> Scene:
        """Draw scene `index`: a crop of the photograph, fragments beside the digit, the digit."""
        rng = np.random.default_rng((*self._key, index))
        sources = self.sources
        image = sources.background(rng)
        which = int(rng.integers(len(sources.labels)))
        height, width = (round(self._size * rng.uniform(*DIGIT)) for _ in range(2))
        top, left = (int(rng.integers(self._size - n + 1)) for n in (height, width))
        box = image[:, top : top + height, left : left + width]
        ink = ink_on(rng, bright=box.mean() < 0.5)
        ground = box.copy()
        for _ in range(FRAGMENTS):
            sources.draw_fragment(rng, image, ink, DIGIT)
        box[:] = ground
        blend(box, enlarge(sources.glyphs[which], height, width), ink)
        return Scene(image, int(sources.labels[which]), (top, left, height, width))


class Digits(MixingDataModule):
    """Loads scenes of ten classes; training and validation share no digit and no photograph.

    The validation scenes do not depend on `seed`: all runs are scored on the same images.
    """

    ranges = {
        "train_images": Number(20000, least=1, whole=True),
        "val_images": Number(2000, least=1, whole=True),
    }

    scenes: ClassVar[type[DrawnScenes]] = DigitScenes

    def __init__(
        self, *, train_images: int, val_images: int = 2000, **base: Unpack[MixingSettings]
    ) -> None:
        """Keep the settings.

        Args:
            train_images: Scenes of an epoch; every epoch draws fresh ones.
            val_images: Validation scenes.
            base: Arguments of `MixingDataModule`.
        """
        super().__init__(**base)
        self.train_images = train_images
        self.val_images = val_images

    @property
    @override
    def num_classes(self) -> int:
        return 10

    @property
    @override
    def class_names(self) -> tuple[str, ...] | None:
        return tuple(map(str, range(10)))

    @property
    @override
    def preprocessing(self) -> Preprocessing:
        return replace(super().preprocessing, crop_pct=1.0)  # scenes are not cropped

    def check(self, stage: str = "fit", processes: int = 1) -> None:
        """Check that there are enough scenes for each process.

        Raises:
            InputError: If there are too few.
        """
        if stage == "fit" and self.train_images < self.batch_size * processes:
            needed = f"datamodule.batch_size={self.batch_size}"
            raise InputError(
                f"datamodule.train_images={self.train_images} gives no full batch: it must be at "
                f"least {needed if processes == 1 else f'{processes} x {needed}'}."
            )
        if self.val_images < processes:
            raise InputError(
                f"datamodule.val_images={self.val_images} must be at least {processes}, one for "
                "each process."
            )

    def train_dataset(self) -> DrawnScenes:
        """Return the training scenes of this seed."""
        return self._scenes(train=True, length=self.train_images, seed=self.seed)

    def val_dataset(self) -> DrawnScenes:
        """Return the validation scenes, the same for every seed."""
        return self._scenes(train=False, length=self.val_images, seed=0)

    def train_dataloader(self) -> DataLoader[Sample]:
        """Load fresh scenes in every epoch, in batches of equal size."""
        return self._loaders.unshuffled(self._train, self._start)  # independent draws

    def _scenes(self, *, train: bool, length: int, seed: int) -> DrawnScenes:
        mean, std = self.normalization
        size = self.image_size
        return self.scenes(
            train=train, length=length, image_size=size, seed=seed, mean=mean, std=std
        )
