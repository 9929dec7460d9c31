"""Loads photographs with one class each from any source, augmented as for DeiT."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from timm.data import create_transform
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import Unpack, override

from ..errors import InputError
from ..ranges import Number, Pair, Replaced
from .labelled import LabelledImages
from .labelled_module import LabelledModule
from .mixing import MixingDataModule, MixingSettings
from .photo_source import PhotoSource as PhotoSource  # sources may import it from here
from .photo_source import Transform
from .readable import ReadableImages


class PhotoSettings(MixingSettings):
    """Types the arguments of `PhotoModule`, which its subclasses pass on."""

    on_bad_image: str
    crop_pct: float | None
    scale: Sequence[float]
    hflip: float
    color_jitter: float | None
    auto_augment: str | None
    reprob: float


class PhotoModule(LabelledModule, MixingDataModule, ABC):
    """Loads the photographs of a `PhotoSource`, augmented and prepared by timm.

    Photographs are decoded by `decoding.decode_rgb`; their EXIF orientation is not applied, as in
    timm and torchvision, so that accuracies can be compared.
    """

    ranges = {
        "crop_pct": Number(0.9, above=0, most=1, optional=True),
        "scale": Pair("[0.08,1.0]", Number(0.5, above=0, most=1), ascending=True),
        "color_jitter": Number(0.4, least=0, optional=True),
        "hflip": Number(0.5, least=0, most=1),
        "reprob": Number(0.25, least=0, most=1),
    }
    replaced = {
        "color_jitter": Replaced(
            "datamodule.auto_augment", "datamodule.auto_augment jitters instead"
        ),
    }

    def __init__(
        self,
        *,
        on_bad_image: str,
        crop_pct: float | None,
        scale: Sequence[float],
        hflip: float,
        color_jitter: float | None,
        auto_augment: str | None,
        reprob: float,
        **common: Unpack[MixingSettings],
    ) -> None:
        """Keep the settings; nothing is read before `check`.

        Args:
            on_bad_image: What to do about an image that cannot be read: "error" or "skip".
            crop_pct: Share of the resized image's side that evaluation keeps; None for the
                network's own.
            scale: Least and greatest share of the image's area in a training crop.
            hflip: Probability of a flip.
            color_jitter: Its strength; timm leaves it out while `auto_augment` is set.
            auto_augment: timm's description of a policy, or None.
            reprob: Probability of erasing a rectangle.
            common: Arguments of `MixingDataModule`.
        """
        super().__init__(on_bad_image=on_bad_image, **common)
        if crop_pct is not None:
            self.input_config = replace(self.input_config, crop_pct=crop_pct)
        self._augmentation: dict[str, Any] = {
            "scale": tuple(scale),
            "hflip": hflip,
            "color_jitter": color_jitter,
            "auto_augment": auto_augment,
            "re_prob": reprob,
            "re_mode": "pixel",  # as for DeiT
        }

    @property
    @abstractmethod
    def source(self) -> PhotoSource:
        """Return the source of both parts: the same object at every call."""

    @override
    def check_training(self) -> None:
        try:
            self._train_transform()
        except (AssertionError, KeyError, ValueError) as error:
            raise InputError(
                f"datamodule.auto_augment={self._augmentation['auto_augment']} is not known to "
                "timm: write rand-m9-mstd0.5-inc1 or null."
            ) from error

    @override
    def train_dataset(self) -> Dataset[tuple[Tensor, int]]:
        return self._dataset(True, self._train_transform())

    @override
    def val_dataset(self) -> Dataset[tuple[Tensor, int]]:
        return self._dataset(False, create_transform(**asdict(self.input_config)))

    @override
    def plain_train_dataset(self) -> Dataset[tuple[Tensor, int]]:
        return self._dataset(True, create_transform(**asdict(self.input_config)))

    def _dataset(self, training: bool, transform: Transform) -> Dataset[tuple[Tensor, int]]:
        images = self.source.dataset(training, transform)
        if not isinstance(images, LabelledImages):
            return images
        if self.skip:
            return self.readable(training, images)
        return ReadableImages(images, None) if images.may_lack_labels else images

    def _train_transform(self) -> Transform:
        return create_transform(**asdict(self.input_config), **self._augmentation, is_training=True)
