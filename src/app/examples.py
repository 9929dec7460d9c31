"""Writes the example images: embedded digits and scikit-learn's photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

from ..datamodules.digits import DigitScenes

_SCENES = (3, 8, 11, 17)  # validation scenes, of four different digits
_SIDE = 240  # pixels: whole multiples of what the embedded networks see, or nearly
_PHOTOS = ("flower", "china")


def write_examples(folder: Path) -> list[Path]:
    """Write the examples as PNG files into `folder` and return them in the order of the page."""
    scenes = DigitScenes(
        train=False,
        length=max(_SCENES) + 1,
        image_size=_SIDE,
        seed=0,
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )
    images = {f"digit_{i}": _picture(scenes.scene(i).image) for i in _SCENES}
    images |= {name: Image.fromarray(load_sample_image(f"{name}.jpg")) for name in _PHOTOS}
    for name, image in images.items():
        image.save(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in images]


def _picture(pixels: np.ndarray) -> Image.Image:
    """Turn `(3, S, S)` in 0..1 into an image."""
    return Image.fromarray(np.rint(255 * pixels.transpose(1, 2, 0)).astype(np.uint8))
