"""Mixes training images or clips and their labels: mixup and cutmix."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping

import torch
from timm.data import Mixup
from torch import Tensor
from typing_extensions import NotRequired, Unpack, override

from ..errors import InputError, one_sentence
from ..ranges import Choice, Kind, Number, Pair
from .base import ImageDataModule
from .clip_labels import CLIP_LABEL
from .loading import LoadingSettings
from .resumable import drawn_from

_ONE_LABEL = (("label",), (CLIP_LABEL,))  # targets of data that can be mixed
MixupOptions = Mapping[str, float | str | None]  # arguments of `timm.data.Mixup`


class MixingSettings(LoadingSettings):
    """Types the arguments of `MixingDataModule`, which its subclasses pass on."""

    mixup: NotRequired[MixupOptions | None]


class MixingDataModule(ImageDataModule, ABC):
    """Mixes training batches of one label each; labels become `(B, classes)`.

    All frames of a clip are mixed alike: in the same proportion, and where a box is pasted, at the
    same place.
    """

    ranges = {
        "mixup": Kind(
            dict, "arguments of timm.data.Mixup, as {mixup_alpha:0.8}, or null", False, True
        ),
        "mixup.mixup_alpha": Number(0.8, least=0),
        "mixup.cutmix_alpha": Number(1.0, least=0),
        "mixup.cutmix_minmax": Pair(
            "[0.2,0.8]", Number(0.5, least=0, most=1), ascending=True, optional=True
        ),
        "mixup.prob": Number(1.0, least=0, most=1),
        "mixup.switch_prob": Number(0.5, least=0, most=1),
        "mixup.mode": Choice(("batch", "pair", "elem")),
        "mixup.correct_lam": Kind(bool, "true or false", needed=False),
        "mixup.label_smoothing": Number(0.1, least=0, below=1),
    }

    def __init__(
        self, *, mixup: MixupOptions | None = None, **loading: Unpack[LoadingSettings]
    ) -> None:
        """Check that this data can be mixed.

        Args:
            mixup: Arguments of `timm.data.Mixup`, or None for none.
            loading: Arguments of `ImageDataModule`.

        Raises:
            InputError: If images have other targets than a label, the batch size is odd, or timm
                does not take the arguments.
        """
        super().__init__(**loading)
        if mixup:
            refuse_mixup(mixup, self.targets)
            self._check_options(mixup)
        self.mixup = mixup

    def _check_options(self, mixup: MixupOptions) -> None:
        """Check the batch size, and try mixup as well as cutmix on images of the network's size."""
        if self.batch_size % 2:
            raise InputError(
                f"datamodule.batch_size={self.batch_size} is odd, but mixup pairs images: "
                "use an even batch size or datamodule.mixup=null."
            )
        images = torch.zeros(2, 1, self.image_size, self.image_size)
        try:
            with drawn_from(self.seed):
                for cutmix in (0.0, 1.0):
                    always = {**mixup, "prob": 1.0, "switch_prob": cutmix}
                    Mixup(num_classes=2, **always)(images, torch.zeros(2, dtype=torch.long))
        except (TypeError, ValueError, AssertionError) as error:
            raise InputError(
                f"datamodule.mixup={mixup} is not what timm.data.Mixup takes: "
                f"{one_sentence(str(error))}"
            ) from error

    @override
    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit":
            options = self.mixup
            self._mix = Mixup(num_classes=self.num_classes, **options) if options else None

    def on_after_batch_transfer(
        self, batch: tuple[Tensor, Tensor], dataloader_idx: int
    ) -> tuple[Tensor, Tensor]:
        """Mix training images `(B, 3, S, S)` or clips `(B, 3, T, S, S)` on their device.

        Args:
            batch: Images or clips, and labels `(B,)`.
            dataloader_idx: Unused.
        """
        if self.trainer is None or not self.trainer.training or self._mix is None:
            return batch
        images, labels = batch
        mixed, shares = self._mix(images.flatten(1, -3), labels)
        return mixed.view_as(images), shares


def refuse_mixup(mixup: MixupOptions | None, targets: tuple[str, ...]) -> None:
    """Refuse mixup unless each image or clip has one label and nothing else as target.

    Raises:
        InputError: If it is asked for elsewhere.
    """
    if mixup and targets not in _ONE_LABEL:
        raise InputError(
            f"datamodule.mixup={mixup} mixes images of one label each, and this data has "
            f"{' and '.join(targets)}: leave it out or write datamodule.mixup=null."
        )
