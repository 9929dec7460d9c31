"""Loads photographs with boxes and masks from COCO's layout: images and a json for each split."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from typing_extensions import Unpack, override

from ..errors import InputError
from ..ranges import Kind, Text
from .annotations import Annotated, Annotations
from .frames import FramedImages, Frames, open_rgb
from .inputs import InputConfig
from .listing import find_listed
from .mixing import MixingSettings
from .targets import Target


class BoxedFrames(Frames):
    """Reads photographs with the box, class and mask of each object."""

    def __init__(
        self,
        files: list[Path],
        annotations: Annotations,
        config: InputConfig,
        *,
        training: bool,
    ) -> None:
        """Take `annotations` and the file of each of its images."""
        super().__init__(config, training=training)
        self._files = files
        self._annotations = annotations
        self._training = training

    def __len__(self) -> int:
        return len(self._files)

    def read(self, index: int) -> tuple[Image.Image, dict[str, Tensor]]:
        """Return a photograph and its objects; in training without crowds."""
        listed, path = self._annotations.images[index], self._files[index]
        image = open_rgb(path, (listed.width, listed.height))
        if image.size != (listed.width, listed.height):
            raise InputError(
                f"{path} is {image.width}x{image.height} pixels, but {self._annotations.path} says "
                f"{listed.width}x{listed.height}."
            )
        objects = [
            one
            for one in self._annotations.objects.get(listed.id, [])
            if not (self._training and one.crowd)
        ]
        size = (image.height, image.width)
        boxes = torch.tensor([one.box for one in objects]).float().reshape(-1, 4)
        masks = [_drawn(one, *size) for one in objects]
        labels = [self._annotations.labels[one.category] for one in objects]
        return image, {
            "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size),  # type: ignore[call-arg]
            "labels": torch.tensor(labels, dtype=torch.int64),
            "iscrowd": torch.tensor([one.crowd for one in objects], dtype=torch.int64),
            "masks": tv_tensors.Mask(
                torch.stack(masks) if masks else torch.zeros(0, *size, dtype=torch.uint8)
            ),
        }

    def finish(self, target: dict[str, Tensor]) -> Target:
        """Drop objects of which a crop has left less than a pixel."""
        boxes = target["boxes"]
        seen = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(dim=1)
        return {name: value[seen] for name, value in target.items()}


class Coco(FramedImages):
    """Loads images from `root/<split>` with `root/annotations/instances_<split>.json`.

    Categories are labelled from 1 in the order of their ids in the validation file; those of the
    training file get the label of the same name.
    """

    ranges = {
        "train_split": Text("train2017"),
        "val_split": Text("val2017"),
        "drop_empty_boxes": Kind(bool, "true or false", needed=False),
        "clip_boxes": Kind(bool, "true or false", needed=False),
    }

    targets = ("boxes",)

    def __init__(
        self,
        *,
        root: str | None,
        train_split: str = "train2017",
        val_split: str = "val2017",
        drop_empty_boxes: bool = False,
        clip_boxes: bool = False,
        **base: Unpack[MixingSettings],
    ) -> None:
        """Keep the settings.

        Args:
            root: The data set's folder.
            train_split: Folder of the training images.
            val_split: Folder of the validation images.
            drop_empty_boxes: Leave out objects without an area instead of refusing them.
            clip_boxes: Clip boxes and polygons to their image instead of refusing them.
            base: Arguments of `FramedImages`.
        """
        super().__init__(**base)
        self._root = root
        self._splits = {True: train_split, False: val_split}
        self._read = partial(Annotations, drop_empty_boxes=drop_empty_boxes, clip_boxes=clip_boxes)
        self._found: dict[bool, list[Path]] = {}
        self._adopted: tuple[str, ...] | None = None

    @property
    def num_classes(self) -> int:
        """Return the number of categories plus one for the background, class 0."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the name of each class, "background" first."""
        return self._adopted or ("background", *self._val_annotations.names.values())

    @override
    def adopt_classes(self, names: Sequence[str]) -> None:
        self._adopted = tuple(names)
        self._val_annotations.label_as(names)

    @override
    def class_name(self, label: int) -> str:
        return self.class_names[label]

    def check(self, stage: str = "fit", processes: int = 1) -> None:
        """Read the files of annotations and look for the images.

        Raises:
            InputError: If files or images are missing, annotations are wrong, the two parts have
                other categories, or there are too few images for a batch.
        """
        self._files(training=False)
        if stage == "fit":
            self.check_batches(len(self._train_annotations.images), processes)
            self._files(training=True)

    def train_dataset(self) -> Frames:
        """Return the training images: scaled, cropped and flipped at random."""
        return self._frames(training=True)

    @override
    def val_dataset(self) -> Frames:
        return self._frames(training=False)

    @override
    def val_filenames(self) -> list[str]:
        return [one.file_name for one in self._val_annotations.images]

    @override
    def val_size(self, index: int) -> tuple[int, int]:
        listed = self._val_annotations.images[index]
        return listed.width, listed.height

    def _frames(self, *, training: bool) -> BoxedFrames:
        annotations = self._train_annotations if training else self._val_annotations
        return BoxedFrames(self._files(training), annotations, self.input_config, training=training)

    def _files(self, training: bool) -> list[Path]:
        if training not in self._found:
            annotations = self._train_annotations if training else self._val_annotations
            names = [one.file_name for one in annotations.images]
            self._found[training] = find_listed(self._folder(training), names, annotations.path)
        return self._found[training]

    @cached_property
    def _train_annotations(self) -> Annotations:
        path = self._json(training=True)
        return self._read(path, like=self._val_annotations)

    @cached_property
    def _val_annotations(self) -> Annotations:
        return self._read(self._json(training=False))

    def _json(self, training: bool) -> Path:
        folder = self._folder(training)
        return folder.parent / "annotations" / f"instances_{folder.name}.json"

    def _folder(self, training: bool) -> Path:
        if self._root is None:
            raise InputError(
                "datamodule.root is not set: give COCO's folder, datamodule.root=/path/to/coco, or "
                "try datamodule=digits_scenes."
            )
        folder = Path(self._root).expanduser() / self._splits[training]
        if not folder.is_dir():
            raise InputError(
                f"There is no folder {folder}: datamodule.root={self._root} should hold "
                f"{folder.name}/* and annotations/instances_{folder.name}.json."
            )
        return folder


def _drawn(one: Annotated, height: int, width: int) -> Tensor:
    """Return the pixels `(H, W)` of an object; its box if it has no shape."""
    if one.shape:
        return torch.from_numpy(one.shape.drawn(height, width))
    left, top, right, bottom = (max(round(side), 0) for side in one.box)
    drawn = torch.zeros(height, width, dtype=torch.uint8)
    drawn[top:bottom, left:right] = 1
    return drawn
