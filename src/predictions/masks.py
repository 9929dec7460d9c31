"""Writes the class of each pixel as png files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from typing_extensions import override

from ..errors import InputError
from ..files import atomic_file
from ..modules.heads.base import DenseOutput, Output
from ..pictures.legends import palette
from ..pictures.overlays import draw_classes
from .base import Drawn, Options, PictureNames, Predicted, Predictions
from .placing import classes_on


class MaskFolder(Predictions):
    """Writes for each image a png of its size, whose pixels are numbers of classes.

    `colored` masks hold the same numbers, with a palette by which programs show them.
    """

    default = "masks"

    def __init__(self, path: Path, options: Options) -> None:
        """Start without names."""
        super().__init__(path, options)
        self._names = PictureNames()
        self._reserved: dict[str, str] = {}

    @override
    def start(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise InputError(
                f"predictions={self.path} is a file, but masks need a folder: name another place."
            )

    @override
    def reserve(self, names: Sequence[str]) -> None:
        self._reserved = {name: self._names.of(name) for name in names}

    @override
    def files(self) -> list[Path]:
        return [self.path / name for name in self._reserved.values()]

    @override
    def write(
        self, images: Sequence[Predicted], output: Output, target: object | None = None
    ) -> None:
        for image, scores in zip(images, _scores(output), strict=True):
            mask = self._image(classes_on(scores, image.size))
            name = self._reserved.get(image.name) or self._names.of(image.name)
            with atomic_file(self.path / name) as partial:
                mask.save(partial)
        self.emit([None] * len(images))

    @override
    def draw(self, image: Drawn, output: Output) -> Image.Image:
        (scores,) = _scores(output)
        classes = classes_on(scores, image.photograph.size).cpu()
        names = [self.options.name(number) for number in range(len(scores))]
        return draw_classes(image.photograph, classes, names)

    def _image(self, classes: Tensor) -> Image.Image:
        numbers = classes.cpu().numpy()
        few = numbers.max() < 256
        mask = Image.fromarray(numbers.astype(np.uint8 if few else np.uint16))
        if self.options.colored and few:
            mask.putpalette(palette())
        return mask


def _scores(output: Output) -> Tensor:
    assert isinstance(output, DenseOutput)
    assert output.logits is not None
    return output.logits
