"""Describes how a photograph is prepared for a network, as one value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from numbers import Real

from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torchvision.transforms import Compose, Grayscale

from ..errors import InputError

FRAME = "frame"  # the longer side fills the input, which is padded at the right and the bottom
_CROPS = ("center", "squash", "border", FRAME)
_INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos", "box", "hamming")
LARGEST_SIDE = 2**14  # most pixels of a side


@dataclass(frozen=True)
class Preprocessing:
    """Describes how evaluation prepares an image: resize, crop, scale to [0, 1], normalize.

    Attributes:
        size: Height and width of the input in pixels.
        interpolation: How images are resized, by timm's name.
        crop_pct: Share of the resized image's side that the crop keeps.
        crop_mode: timm's, or `frame`: the longer side fills the input, the rest is padded with 0
            after normalization.
        mean: Mean of each channel, of pixels from 0 to 1.
        std: Standard deviation of each channel, of pixels from 0 to 1.
    """

    size: tuple[int, int]
    interpolation: str
    crop_pct: float
    crop_mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, config: Mapping[str, object], crop_mode: str | None = None) -> Preprocessing:
        """Make one from the result of timm's `resolve_data_config`.

        Args:
            config: Has `input_size`, `interpolation`, `crop_pct`, `mean` and `std`.
            crop_mode: Replaces the one in `config`.
        """
        shape = config["input_size"]
        return cls.checked(
            {
                "size": list(shape)[1:] if isinstance(shape, (list, tuple)) else shape,
                "interpolation": config["interpolation"],
                "crop_pct": config["crop_pct"],
                "crop_mode": crop_mode or config.get("crop_mode") or "center",
                "mean": config["mean"],
                "std": config["std"],
            },
            "preprocessing",
        )

    @classmethod
    def checked(cls, values: object, where: str) -> Preprocessing:
        """Make one from untrusted plain values.

        Args:
            values: The values by the names of the attributes.
            where: Where they come from, for messages.

        Raises:
            InputError: If one is missing, unknown or invalid.
        """
        names = cls.__dataclass_fields__
        if not isinstance(values, Mapping) or set(values) != set(names):
            raise InputError(f"{where} is not made of {', '.join(names)}: it is damaged.")
        size, mean, std = (_numbers(values[name]) for name in ("size", "mean", "std"))
        share = _numbers([values["crop_pct"]])
        right = {
            "size": len(size) == 2 and all(s == int(s) and 0 < s <= LARGEST_SIDE for s in size),
            "interpolation": values["interpolation"] in _INTERPOLATIONS,
            "crop_pct": len(share) == 1 and 0 < share[0] <= 1,
            "crop_mode": values["crop_mode"] in _CROPS,
            "mean": len(mean) > 0,
            "std": len(std) == len(mean) and min(std, default=0) > 0,
        }
        for name, good in right.items():
            if not good:
                shown = str(values[name])[:80]
                raise InputError(f"{where} has {name}={shown}, by which no image can be prepared.")
        return cls(
            (int(size[0]), int(size[1])),
            str(values["interpolation"]),
            share[0],
            str(values["crop_mode"]),
            mean,
            std,
        )

    def as_dict(self) -> dict[str, object]:
        """Return the attributes as plain values."""
        return asdict(self)

    def of_channels(self, count: int) -> Preprocessing:
        """Return it for images of `count` channels, which each have the average of other ones."""
        if len(self.mean) == count:
            return self
        mean, std = (sum(values) / len(values) for values in (self.mean, self.std))
        return replace(self, mean=(mean,) * count, std=(std,) * count)

    def transform(self) -> Callable[[Image.Image], Tensor]:
        """Return timm's transform from an RGB image to the input `(3, H, W)`.

        For one channel, it takes RGB or gray images and makes them gray: `(1, H, W)`.

        Raises:
            InputError: If images are framed or of other than 1 or 3 channels, for which timm has no
                transform.
        """
        channels = len(self.mean)
        if channels not in (1, 3):
            raise InputError(
                f"The network takes {channels} channels, and photographs have 1 or 3: normalize "
                "images of your own by preprocessing.mean and preprocessing.std."
            )
        if self.crop_mode == FRAME:
            raise InputError(
                "crop_mode=frame has no transform of timm's: resize the longer side to "
                f"{self.size[1]} pixels, normalize, and pad with 0 at the right and the bottom."
            )
        made: Callable[[Image.Image], Tensor] = create_transform(
            input_size=(channels, *self.size),
            is_training=False,
            interpolation=self.interpolation,
            crop_pct=self.crop_pct,
            crop_mode=self.crop_mode,
            mean=self.mean,
            std=self.std,
        )
        return Compose([Grayscale(), made]) if channels == 1 else made


def _numbers(values: object) -> tuple[float, ...]:
    """Return the numbers of a list; an empty tuple if it is no list of finite numbers."""
    if not isinstance(values, (list, tuple)):
        return ()
    good = all(isinstance(v, Real) and not isinstance(v, bool) and math.isfinite(v) for v in values)
    return tuple(float(v) for v in values) if good else ()
