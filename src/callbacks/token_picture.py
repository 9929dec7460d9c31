"""Draws the patches kept at each location of a few validation images."""

from __future__ import annotations

from collections.abc import Sequence

import lightning as L
from typing_extensions import override

from ..datamodules.attached import data_of
from ..datamodules.base import ImageDataModule
from ..files import atomic_file
from ..modules.base import SparseModule
from ..pictures import draw_token_maps
from ..pictures.samples import inspect, numbered_images
from .output import EvaluationOutput


class TokenPicture(EvaluationOutput):
    """Writes `token_maps`, a `.png` of some images and their kept patches, after the test."""

    setting = "token_maps"

    def __init__(self, path: str, images: Sequence[int] | None = None) -> None:
        """Write to `path`; see `numbered_images` for `images`."""
        super().__init__(path)
        self.numbers = images

    @override
    def prepare(self, trainer: L.Trainer, module: SparseModule, data: ImageDataModule) -> None:
        self.images = numbered_images(data, self.numbers)

    @override
    def on_test_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        if not trainer.is_global_zero:
            return
        data = data_of(trainer)
        images = self.images.to(pl_module.device)
        picture = draw_token_maps(images, inspect(pl_module.student, images), data.normalization)
        with atomic_file(self.path) as partial:
            picture.save(partial)
