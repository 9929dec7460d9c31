"""Loads ImageNet, a subset of it, or any other labelled photographs."""

from __future__ import annotations

from functools import cached_property

from typing_extensions import Unpack, override

from ..ranges import Number, Text
from .folders import ImageFolders
from .named import NamedImages
from .photo_source import PhotoSource
from .photos import PhotoModule, PhotoSettings


class ImageNet(PhotoModule):
    """Loads photographs from folders, or from the data set that timm's one string names.

    Class folders named by WNIDs are scored on ImageNet's 1000 outputs, also if they are a subset;
    other folders have as many outputs as there are folders.
    """

    ranges = {
        "dataset": Text("wds/photographs", optional=True),
        "train_split": Text("train"),
        "val_split": Text("val"),
        "num_classes": Number(10, least=1, whole=True, optional=True),
        "image_key": Text("image", optional=True),
        "label_key": Text("label", optional=True),
    }

    def __init__(
        self,
        *,
        root: str | None,
        dataset: str,
        train_split: str,
        val_split: str,
        num_classes: int | None,
        image_key: str | None = None,
        label_key: str | None = None,
        **photos: Unpack[PhotoSettings],
    ) -> None:
        """Keep the settings; nothing is read before `check`.

        Args:
            root: Folder of the data, or address of shards (`s3://...`).
            dataset: "" for folders, else timm's string (`wds/...`, `hfds/...`, `tfds/...`).
            train_split: Name of the training part.
            val_split: Name of the validation part; the folder `validation` may be called `val`.
            num_classes: Outputs where `dataset` does not know them; None for its own or 1000. For
                folders their number, where WNIDs should get outputs of their own.
            image_key: Column (hfds) or suffix (wds) of the images; None to find it.
            label_key: Column (hfds) or key in the json (wds) of the labels; None to find it.
            photos: Arguments of `PhotoModule`.
        """
        super().__init__(**photos)
        self._name = dataset
        self._parts = (root, train_split, val_split)
        self._given_classes = num_classes
        self._image_key = image_key
        self._label_key = label_key

    @cached_property
    @override
    def source(self) -> PhotoSource:
        if not self._name:
            return ImageFolders(*self._parts, num_classes=self._given_classes, skip=self.skip)
        return NamedImages(
            self._name,
            *self._parts,
            num_classes=self._given_classes,
            image_key=self._image_key,
            label_key=self._label_key,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
        )
