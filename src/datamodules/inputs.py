"""Describes what a network expects of its input images."""

from __future__ import annotations

from dataclasses import dataclass

import timm
from timm.data import resolve_data_config

from .normalization import Normalization


@dataclass(frozen=True)
class InputConfig:
    """Holds a network's input conventions under timm's names: `create_transform` takes them all.

    Attributes:
        input_size: Channels, height and width, in pixels.
        mean: Mean of each channel, of pixels from 0 to 1.
        std: Standard deviation of each channel, of pixels from 0 to 1.
        interpolation: How images are resized, such as "bicubic".
        crop_pct: Share of the resized image's side that evaluation keeps.
        crop_mode: Which part it keeps, such as "center".
    """

    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float
    crop_mode: str

    @classmethod
    def of_network(cls, name: str, image_size: int) -> InputConfig:
        """Return the conventions of timm's network `name` at square images of `image_size`."""
        pretrained = timm.get_pretrained_cfg(name)
        facts = pretrained.to_dict() if pretrained else {}
        size = {"input_size": (3, image_size, image_size)}
        return cls(**resolve_data_config(size, pretrained_cfg=facts))

    @property
    def image_size(self) -> int:
        """Return the side of the square input, in pixels."""
        return self.input_size[-1]

    @property
    def normalization(self) -> Normalization:
        """Return mean and standard deviation as one value."""
        return Normalization(tuple(self.mean), tuple(self.std))
