"""Makes a network's input from decoded frames; all frames of a clip are transformed alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from .inputs import InputConfig


def augmented(
    config: InputConfig, *, scale: Sequence[float], ratio: Sequence[float], hflip: float
) -> v2.Transform:
    """Return the transform of frames `(T, 3, H, W)` of 8 bits to a training clip `(3, T, S, S)`.

    Args:
        config: The network's conventions.
        scale: Least and greatest share of the area in a crop.
        ratio: Least and greatest width over height of a crop.
        hflip: Probability of a flip.
    """
    return v2.Compose(
        [
            v2.RandomResizedCrop(
                config.image_size, tuple(scale), tuple(ratio), _interpolation(config)
            ),
            v2.RandomHorizontalFlip(hflip),
            _Normalized(config),
        ]
    )


class Crops:
    """Cuts evenly spaced squares along the longer side of frames; a single one is in the middle."""

    def __init__(self, config: InputConfig, count: int) -> None:
        """Cut `count` crops; the shorter side is resized to the network's input."""
        self._resize = v2.Resize(config.image_size, _interpolation(config))
        self._normalize = _Normalized(config)
        self._size = config.image_size
        self._count = count

    def __call__(self, frames: Tensor) -> Tensor:
        """Return the views `(crops, 3, T, S, S)` of frames `(T, 3, H, W)` of 8 bits."""
        frames = self._resize(frames)
        height, width = frames.shape[-2:]
        size, views = self._size, []
        for crop in range(self._count):
            share = crop / (self._count - 1) if self._count > 1 else 0.5
            top, left = (round(share * (side - size)) for side in (height, width))
            views.append(self._normalize(functional.crop(frames, top, left, size, size)))
        return torch.stack(views)


class _Normalized(v2.Transform):
    """Scales frames `(T, 3, S, S)` to floats, normalizes them and puts time second."""

    def __init__(self, config: InputConfig) -> None:
        super().__init__()
        self._mean, self._std = (list(values) for values in config.normalization)

    def transform(self, inpt: Tensor, params: dict[str, object]) -> Tensor:
        floats = functional.to_dtype(inpt, torch.float32, scale=True)
        return functional.normalize(floats, self._mean, self._std).transpose(0, 1).contiguous()


def _interpolation(config: InputConfig) -> InterpolationMode:
    return InterpolationMode(config.interpolation)
