"""Provides scikit-learn's handwritten digits and photographs, and draws them."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image
from torch.nn import functional as F

Array = npt.NDArray[np.float32]

VAL_EVERY = 5  # every fifth source digit is drawn in validation scenes only
ZOOM = 4  # photograph's height in image sides
FRAGMENT = (3, 4)  # side of a fragment in source pixels, of which a digit with margin has 10


class Sources:
    """Holds the handwritten digits and the photograph that a split's scenes are drawn from.

    Attributes:
        glyphs: `(digits, 10, 10)`, 0..1, with a margin of one pixel.
        labels: `(digits,)`, 0..9.
        photo: `(3, ZOOM * image_size, W)`, 0..255.
    """

    def __init__(self, *, train: bool, image_size: int) -> None:
        """Prepare the digits and the photograph of a split."""
        digits = load_digits()
        chosen = (np.arange(len(digits.target)) % VAL_EVERY != 0) == train
        glyphs = np.pad(digits.images[chosen] / 16, ((0, 0), (1, 1), (1, 1)))
        self.glyphs = glyphs.astype(np.float32)
        self.labels = digits.target[chosen]
        self.photo = _photograph("china.jpg" if train else "flower.jpg", ZOOM * image_size)
        self._size = image_size

    def background(self, rng: np.random.Generator) -> Array:
        """Return a random crop of the photograph, `(3, S, S)`."""
        _, height, width = self.photo.shape
        top = int(rng.integers(height - self._size + 1))
        left = int(rng.integers(width - self._size + 1))
        crop = self.photo[:, top : top + self._size, left : left + self._size]
        crop = crop[:, :, :: int(rng.choice((-1, 1)))]
        gain = rng.uniform(0.7, 1.1) * rng.uniform(0.85, 1.15, (3, 1, 1)) / 255
        return np.minimum(crop * gain.astype(np.float32), 1)

    def draw_fragment(
        self, rng: np.random.Generator, image: Array, ink: Array, digit: tuple[float, float]
    ) -> None:
        """Draw a small window of any digit in a color like `ink`, at the scale of sides `digit`."""
        glyph = self.glyphs[rng.integers(len(self.glyphs))]
        rows, columns = rng.integers(FRAGMENT[0], FRAGMENT[1] + 1, 2)
        row, column = rng.integers(1, 10 - rows), rng.integers(1, 10 - columns)
        scale = self._size * rng.uniform(*digit) / 10
        height, width = round(rows * scale), round(columns * scale)
        top = int(rng.integers(self._size - height + 1))
        left = int(rng.integers(self._size - width + 1))
        part = enlarge(glyph[row : row + rows, column : column + columns], height, width)
        color = ink + rng.uniform(-0.15, 0.15, (3, 1, 1)).astype(np.float32)
        blend(image[:, top : top + height, left : left + width], part, color.clip(0, 1))


def _photograph(name: str, height: int) -> npt.NDArray[np.uint8]:
    """Return one of scikit-learn's photographs as `(3, height, W)`."""
    photo = Image.fromarray(load_sample_image(name))
    photo = photo.resize(
        (round(height * photo.width / photo.height), height), Image.Resampling.BICUBIC
    )
    return np.ascontiguousarray(np.asarray(photo).transpose(2, 0, 1))


def ink_on(rng: np.random.Generator, *, bright: bool) -> Array:
    """Draw a color `(3, 1, 1)`: bright for a dark ground, else dark."""
    depth = rng.uniform(0, 0.3, (3, 1, 1)).astype(np.float32)
    return 1 - depth if bright else depth


def enlarge(glyph: Array, height: int, width: int) -> Array:
    """Return `glyph` enlarged to `(height, width)` (bicubic), with crisper strokes."""
    soft = _interpolation(glyph.shape[0], height) @ glyph @ _interpolation(glyph.shape[1], width).T
    return (1.6 * soft - 0.2).clip(0, 1)


@cache
def _interpolation(source: int, target: int) -> Array:
    """Return the matrix `(target, source)` of bicubic interpolation along one axis."""
    rows = F.interpolate(torch.eye(source)[None, None], (target, source), mode="bicubic")
    return rows[0, 0].numpy()


def blend(image: Array, coverage: Array, color: Array) -> None:
    """Paint `color` into `image` (3, h, w) where `coverage` (h, w) says, in place."""
    image += coverage * (color - image)
