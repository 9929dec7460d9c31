"""Photographs with boxes and masks in COCO's layout, `root/<split>/*` and a json for each split."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors

from ..errors import InputError
from .frames import FramedImages, Frames, open_rgb
from .targets import Target

_PARTS = ("images", "annotations", "categories")
_SLACK = 1.0  # pixels by which a rounded box may stand out of its image


class Annotations:
    """A json of COCO's format, checked."""

    def __init__(self, path: Path, drop_empty_boxes: bool) -> None:
        """Read it.

        Args:
            path: The file.
            drop_empty_boxes: Leave boxes of no area out instead of refusing them.

        Raises:
            InputError: If it is no such json, or a box is wrong.
        """
        self.path = path
        content = _read(path)
        for number, one in enumerate(content["images"]):
            _require(one, ("id", "file_name", "width", "height"), f"{path}: image {number}")
        self.images: list[dict[str, Any]] = sorted(content["images"], key=lambda one: one["id"])
        names = sorted(content["categories"], key=lambda one: one["id"])
        self.labels = {one["id"]: label for label, one in enumerate(names, start=1)}
        sizes = {one["id"]: one for one in self.images}
        for one in self.images:
            name = PurePosixPath(str(one["file_name"]))
            if name.is_absolute() or ".." in name.parts:
                raise InputError(
                    f"{path} lists the image {name}, which is outside of the images' folder."
                )
        self.objects: dict[int, list[dict[str, Any]]] = {}
        for one in content["annotations"]:
            if self._usable(one, sizes, drop_empty_boxes):
                self.objects.setdefault(one["image_id"], []).append(one)

    def _usable(self, one: dict[str, Any], sizes: dict[int, Any], drop_empty: bool) -> bool:
        name = f"{self.path}: annotation {one.get('id')}"
        _require(one, ("image_id", "category_id", "bbox"), name)
        image = sizes.get(one["image_id"])
        if image is None:
            raise InputError(f"{name} is of the image {one['image_id']}, which is not listed.")
        if one["category_id"] not in self.labels:
            raise InputError(
                f"{name} has the category {one['category_id']}, which is not listed: the file has "
                f"{', '.join(map(str, self.labels))}."
            )
        left, top, width, height = one["bbox"]
        if width <= 0 or height <= 0:
            if drop_empty:
                return False
            raise InputError(
                f"{name} has a box of no area, {one['bbox']}: width and height must be above 0 "
                "(datamodule.drop_empty_boxes=true leaves such boxes out)."
            )
        right, bottom = left + width, top + height
        inside = min(left, top) >= -_SLACK
        if not inside or right > image["width"] + _SLACK or bottom > image["height"] + _SLACK:
            raise InputError(
                f"{name} has a box outside its image, {one['bbox']} (left, top, width, height) in "
                f"{image['file_name']} of {image['width']}x{image['height']} pixels."
            )
        return True


class BoxedFrames(Frames):
    """Photographs and the box, class and mask of each object."""

    def __init__(
        self, folder: Path, annotations: Annotations, config: dict[str, Any], *, training: bool
    ) -> None:
        """Take the images that `annotations` list, from `folder`."""
        super().__init__(config, training=training)
        self._folder = folder
        self._annotations = annotations
        self._training = training

    def __len__(self) -> int:
        return len(self._annotations.images)

    def read(self, index: int) -> tuple[Image.Image, dict[str, Tensor]]:
        """Crowds, which are no single objects, are left out in training."""
        facts = self._annotations.images[index]
        path = self._folder / facts["file_name"]
        image = open_rgb(path)
        if image.size != (facts["width"], facts["height"]):
            raise InputError(
                f"{path} is {image.width}x{image.height} pixels, but {self._annotations.path} says "
                f"{facts['width']}x{facts['height']}."
            )
        objects = [
            one
            for one in self._annotations.objects.get(facts["id"], [])
            if not (self._training and one.get("iscrowd", 0))
        ]
        size = (image.height, image.width)
        boxes = torch.tensor([one["bbox"] for one in objects]).float().reshape(-1, 4)
        masks = [_mask(one, size, self._annotations.path) for one in objects]
        labels = [self._annotations.labels[one["category_id"]] for one in objects]
        crowds = [int(one.get("iscrowd", 0)) for one in objects]
        corners = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)
        return image, {
            "boxes": tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=size),  # type: ignore[call-arg]
            "labels": torch.tensor(labels, dtype=torch.int64),
            "iscrowd": torch.tensor(crowds, dtype=torch.int64),
            "masks": tv_tensors.Mask(
                torch.stack(masks) if masks else torch.zeros(0, *size, dtype=torch.uint8)
            ),
        }

    def finish(self, target: dict[str, Tensor]) -> Target:
        """Without objects that a crop has left less than a pixel of."""
        boxes = target["boxes"]
        seen = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(dim=1)
        return {name: value[seen] for name, value in target.items()}


class Coco(FramedImages):
    """`root/<split>/*` and `root/annotations/instances_<split>.json`."""

    targets = ("boxes",)

    def __init__(
        self,
        *,
        root: str | None,
        train_split: str = "train2017",
        val_split: str = "val2017",
        drop_empty_boxes: bool = False,
        **base: Any,
    ) -> None:
        """Keep the settings.

        Args:
            root: The folder.
            train_split: Folder of the training images.
            val_split: Likewise of validation.
            drop_empty_boxes: Leave boxes of no area out instead of refusing them.
            base: Arguments of `ImageDataModule`.
        """
        super().__init__(**base)
        self._root = root
        self._splits = {True: train_split, False: val_split}
        self._drop_empty_boxes = drop_empty_boxes

    @property
    def num_classes(self) -> int:
        """The categories and the background, class 0."""
        return len(self._val_annotations.labels) + 1

    def check(self, stage: str = "fit", processes: int = 1) -> None:
        """Read the files of annotations.

        Raises:
            InputError: If they are missing or wrong, or name other categories; or too few images
                for a batch.
        """
        validation = self._val_annotations
        if stage != "fit":
            return
        self.check_batches(len(self._train_annotations.images), processes)
        if self._train_annotations.labels != validation.labels:
            raise InputError(
                f"{self._train_annotations.path} and {validation.path} do not list the same "
                "categories: both must have the same ids."
            )

    def train_dataset(self) -> Any:
        """Scaled, cropped and flipped at random."""
        folder = self._folder(training=True)
        return BoxedFrames(folder, self._train_annotations, self.input_config, training=True)

    def val_dataset(self) -> Any:
        """Whole."""
        folder = self._folder(training=False)
        return BoxedFrames(folder, self._val_annotations, self.input_config, training=False)

    def val_filenames(self) -> list[str]:
        """Of the images."""
        return [one["file_name"] for one in self._val_annotations.images]

    @cached_property
    def _train_annotations(self) -> Annotations:
        return self._annotations(training=True)

    @cached_property
    def _val_annotations(self) -> Annotations:
        return self._annotations(training=False)

    def _annotations(self, *, training: bool) -> Annotations:
        folder = self._folder(training)
        path = folder.parent / "annotations" / f"instances_{folder.name}.json"
        return Annotations(path, self._drop_empty_boxes)

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


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"There is no file {path}: it should hold the annotations, as COCO's do.")
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not json ({error}).") from error
    missing = [part for part in _PARTS if not isinstance(content, dict) or not content.get(part)]
    if missing:
        raise InputError(
            f"{path} has no {missing[0]}: COCO's format lists images, annotations and categories."
        )
    return dict(content)


def _require(one: dict[str, Any], keys: tuple[str, ...], name: str) -> None:
    for key in keys:
        if key not in one:
            raise InputError(f"{name} has no {key}: COCO's format has {', '.join(keys)} there.")


def _mask(one: dict[str, Any], size: tuple[int, int], path: Path) -> Tensor:
    """The pixels `(H, W)` of an object, from polygons or runs; its whole box if it has neither."""
    from pycocotools import mask as runs

    shape = one.get("segmentation")
    if not shape:
        left, top, width, height = (round(side) for side in one["bbox"])
        drawn = torch.zeros(size, dtype=torch.uint8)
        drawn[max(top, 0) : top + height, max(left, 0) : left + width] = 1
        return drawn
    if isinstance(shape, dict) and list(shape.get("size", [])) != list(size):
        raise InputError(
            f"{path}: annotation {one.get('id')} has a mask of size {shape.get('size')}, but its "
            f"image has {list(size)} (height, width)."
        )
    try:
        packed = isinstance(shape, dict) and isinstance(shape["counts"], str)
        coded = shape if packed else runs.frPyObjects(shape, *size)
    except Exception as error:  # of a C extension
        raise InputError(
            f"{path}: annotation {one.get('id')} has a segmentation that is neither polygons nor "
            "runs of COCO's format."
        ) from error
    return torch.from_numpy(runs.decode(runs.merge(coded) if isinstance(coded, list) else coded))
