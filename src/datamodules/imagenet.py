"""ImageNet, a subset of it, or any other labelled photographs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from timm.data import create_transform
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InputError
from .base import ImageDataModule
from .folders import ImageFolders, LabelledImages
from .named import NamedImages
from .readable import ReadableImages, Unreadable

log = logging.getLogger(__name__)


class ImageNet(ImageDataModule):
    """Photographs from folders, or from whatever timm's one string names, augmented by timm.

    Class folders named by WNIDs are scored on ImageNet's 1000 outputs, be they all or a subset;
    other folders have as many outputs as there are folders.

    Photographs are decoded by `decoding.decode_rgb`; their EXIF orientation is not applied, as in
    timm and torchvision, so that accuracies can be compared.
    """

    def __init__(
        self,
        *,
        root: str | None,
        dataset: str,
        train_split: str,
        val_split: str,
        num_classes: int | None,
        on_bad_image: str,
        crop_pct: float | None,
        scale: Sequence[float],
        hflip: float,
        color_jitter: float | None,
        auto_augment: str | None,
        reprob: float,
        image_key: str | None = None,
        label_key: str | None = None,
        **common: Any,
    ) -> None:
        """Keep the settings; nothing is read before `check`.

        Args:
            root: Folder of the data.
            dataset: "" for folders, else timm's string (`wds/...`, `hfds/...`, `tfds/...`).
            train_split: Name of the training part.
            val_split: Name of the validation part; folders may also call it `val`.
            num_classes: Outputs where `dataset` does not tell them; None for its own or 1000. Of
                folders their number, so that WNIDs get outputs of their own.
            on_bad_image: What to do about an image that cannot be read: "error" or "skip".
            crop_pct: Share of the resized image's side that evaluation keeps; None for the
                network's own.
            scale: Least and greatest share of the image's area in a training crop.
            hflip: Probability of a flip.
            color_jitter: Strength; timm leaves it out while `auto_augment` is set.
            auto_augment: timm's string, or None.
            reprob: Probability of erasing a rectangle.
            image_key: Column (hfds) or suffix (wds) of the images; None to find it.
            label_key: Column (hfds) or key in the json (wds) of the labels; None to find it.
            common: Arguments of `ImageDataModule`.
        """
        super().__init__(**common)
        if on_bad_image not in ("error", "skip"):
            raise InputError(f"datamodule.on_bad_image={on_bad_image} must be error or skip.")
        self._skip = on_bad_image == "skip"
        self._unreadable: dict[bool, Unreadable] = {}
        self._source: ImageFolders | NamedImages
        if dataset:
            self._source = NamedImages(
                dataset,
                root,
                train_split,
                val_split,
                num_classes=num_classes,
                image_key=image_key,
                label_key=label_key,
                batch_size=self.batch_size,
                num_workers=self.num_workers,
                seed=self.seed,
                skip=self._skip,
            )
        else:
            self._source = ImageFolders(
                root, train_split, val_split, num_classes=num_classes, skip=self._skip
            )
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
            raise InputError(
                f"datamodule.scale={list(scale)} is not a range of areas: "
                "write two numbers as [0.08,1.0]."
            )
        if crop_pct is not None:
            if not 0 < crop_pct <= 1:
                raise InputError(
                    f"datamodule.crop_pct={crop_pct} is not a share: give one in (0, 1] or null."
                )
            self.input_config["crop_pct"] = crop_pct
        self._augmentation: dict[str, Any] = {
            "scale": tuple(scale),
            "hflip": hflip,
            "color_jitter": color_jitter,
            "auto_augment": auto_augment,
            "re_prob": reprob,
            "re_mode": "pixel",  # DeiT's
        }

    @property
    def num_classes(self) -> int:
        """1000 for WNIDs, else the number of classes."""
        return self._source.num_classes

    @property
    def present_classes(self) -> tuple[int, ...] | None:
        """ImageNet's outputs that a subset has; None when all occur."""
        return self._source.present_classes

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The class folder of each output, or the data set's own names."""
        return self._source.class_names

    def adopt_classes(self, names: Sequence[str]) -> None:
        """Label images by the outputs of a network whose classes are `names`."""
        self._source.adopt_classes(names)

    def check(self, stage: str = "fit", processes: int = 1) -> None:
        """Look at the data that `stage` needs; other stages than "fit" do without training images.

        Raises:
            InputError: One sentence on what is wrong.
        """
        training = stage == "fit"
        self._source.check(training)
        if not training:
            return
        try:
            self._train_transform()
        except (AssertionError, KeyError, ValueError) as error:
            raise InputError(
                f"datamodule.auto_augment={self._augmentation['auto_augment']} is not known to "
                "timm: write rand-m9-mstd0.5-inc1 or null."
            ) from error
        self.check_batches(self._source.num_train_images(), processes)

    def train_dataset(self) -> Dataset[tuple[Tensor, int]]:
        """The augmented training images."""
        return self._dataset(True, self._train_transform())

    def val_dataset(self) -> Dataset[tuple[Tensor, int]]:
        """The validation images in the order of their files."""
        return self._dataset(False, create_transform(**self.input_config))

    def val_filenames(self) -> Iterable[str] | None:
        """`<class>/<file>` of each validation image in order; None where images are no files.

        Those that are left out as unreadable are passed over, when the evaluation has come so far.
        """
        names, images = self._source.val_filenames(), self.val_dataset()
        if names is None or not isinstance(images, ReadableImages):
            return names
        return images.unreadable.others(names)

    def teardown(self, stage: str) -> None:
        """Say which images were left out."""
        for unreadable in self._unreadable.values():
            story = unreadable.story()
            if story:
                log.warning(story)
        for sentence in self._source.left_out():
            log.warning(sentence)

    def class_name(self, label: int) -> str:
        """ImageNet's word for WNIDs, else the folder's name."""
        return self._source.class_name(label)

    def _dataset(self, training: bool, transform: Any) -> Dataset[tuple[Tensor, int]]:
        images = self._source.dataset(training, transform)
        if not self._skip or not isinstance(images, LabelledImages):
            return images
        if training not in self._unreadable:
            self._unreadable[training] = Unreadable(images)
        return ReadableImages(images, self._unreadable[training])

    def _train_transform(self) -> Any:
        return create_transform(**self.input_config, **self._augmentation, is_training=True)
