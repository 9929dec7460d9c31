"""Reads a json file in COCO's format and checks all of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, some
from .fields import BOX, FLAG, SIDE, TEXT, WHOLE, Fields, Json, check_fields, read_json, shown
from .shapes import Outline, Runs, reaches_out, read_shape

log = logging.getLogger(__name__)

_IMAGE = {"id": WHOLE, "file_name": TEXT, "width": SIDE, "height": SIDE}
_CATEGORY = {"id": WHOLE, "name": TEXT}
_ANNOTATION = {"image_id": WHOLE, "category_id": WHOLE, "bbox": BOX}
_PARTS = ("images", "annotations", "categories")
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


@dataclass(frozen=True)
class Listed:
    """Holds the file's entry of an image; width and height are in pixels."""

    id: int
    file_name: str
    width: int
    height: int


@dataclass(frozen=True)
class Annotated:
    """Holds the file's entry of an object; an object without a shape fills its box."""

    box: Box
    category: int
    crowd: int
    shape: Outline | Runs | None


class Annotations:
    """Holds a file's `images`, the `objects` of each by its id, and the categories' `labels`."""

    def __init__(
        self,
        path: Path,
        *,
        drop_empty_boxes: bool = False,
        clip_boxes: bool = False,
        like: Annotations | None = None,
    ) -> None:
        """Read and check the file.

        Args:
            path: The file.
            drop_empty_boxes: Leave out objects without an area instead of refusing them.
            clip_boxes: Clip objects that reach out of their image instead of refusing them.
            like: Another file, whose labels categories of the same names get; without it they are
                labelled from 1 in the order of their ids.

        Raises:
            InputError: On the first fault that is found.
        """
        self.path = path
        self._drop_empty = drop_empty_boxes
        self._clip = clip_boxes
        self._counts: Counter[str] = Counter()
        content = _parts(path)
        self.images = self._images(content["images"])
        self.names = self._names(content["categories"])
        self.labels = _labels(self, like)
        self.objects: dict[int, list[Annotated]] = {}
        self._read_objects(content["annotations"])
        self._report()

    def label_as(self, names: Sequence[str]) -> None:
        """Label each category by the place of its name in `names`, which must hold all of them."""
        self.labels = {id: names.index(name) for id, name in self.names.items()}

    def _images(self, listed: list[Json]) -> list[Listed]:
        images: dict[int, Listed] = {}
        for number, one in enumerate(listed):
            facts = check_fields(one, _IMAGE, f"{self.path}: image {number}")
            width, height = int(facts["width"]), int(facts["height"])
            image = Listed(int(facts["id"]), facts["file_name"], width, height)
            if image.id in images:
                raise InputError(
                    f"{self.path} lists two images with the id {image.id}, "
                    f"{shown(images[image.id].file_name)} and {shown(image.file_name)}: each must "
                    "have its own."
                )
            images[image.id] = image
        return [images[id] for id in sorted(images)]

    def _names(self, listed: list[Json]) -> dict[int, str]:
        """Return the categories' names by their ids, ascending."""
        names: dict[int, str] = {}
        taken: set[str] = set()
        for number, one in enumerate(listed):
            facts = check_fields(one, _CATEGORY, f"{self.path}: category {number}")
            id, name = int(facts["id"]), facts["name"]
            if id in names or name in taken:
                same = "id" if id in names else "name"
                raise InputError(
                    f"{self.path} lists two categories with the {same} {shown(facts[same])}: each "
                    "must have its own."
                )
            names[id] = name
            taken.add(name)
        return dict(sorted(names.items()))

    def _read_objects(self, listed: list[Json]) -> None:
        images = {image.id: image for image in self.images}
        ids: set[int | str] = set()
        for number, one in enumerate(listed):
            where = f"{self.path}: annotation {self._name(one, number, ids)}"
            facts = check_fields(one, _ANNOTATION, where)
            image = images.get(int(facts["image_id"]))
            if image is None:
                raise InputError(
                    f"{where} is of the image {facts['image_id']}, which is not listed."
                )
            if facts["category_id"] not in self.names:
                raise InputError(
                    f"{where} has the category {facts['category_id']}, which is not listed: the "
                    f"file has {some([*map(str, self.names)], 20)}."
                )
            if found := self._object(facts, image, where):
                self.objects.setdefault(image.id, []).append(found)
        boxes = [each.box for objects in self.objects.values() for each in objects]
        if boxes and all(max(box) <= 1 for box in boxes):
            raise InputError(
                f"{self.path} has boxes between 0 and 1 only, as {shown(list(boxes[0]))}: "
                "COCO's format has them in pixels, not in shares of the image."
            )

    def _name(self, one: Json, number: int, ids: set[int | str]) -> str:
        """Return what to call an annotation: its id, or its place if it has none."""
        id = one.get("id") if isinstance(one, dict) else None
        if not isinstance(id, int | str) or isinstance(id, bool):
            return f"number {number}"
        self._counts["annotations have the id of another one"] += id in ids
        ids.add(id)
        return shown(id)

    def _object(self, one: Fields, image: Listed, where: str) -> Annotated | None:
        """Return an object, or None if it is to be left out."""
        if "iscrowd" in one:
            check_fields(one, {"iscrowd": FLAG}, where)
        left, top, width, height = one["bbox"]
        box = (left, top, left + width, top + height)
        shape = read_shape(one.get("segmentation"), image.width, image.height, where)
        if _has_area(box):
            box, shape = self._inside(box, shape, one["bbox"], image, where)
        empty = None
        if not _has_area(box):
            empty = f"a box of no area, {shown(one['bbox'])}"
        elif isinstance(shape, Outline) and not shape.polygons:
            empty = f"no polygon with an area, {shown(one['segmentation'])}"
        if empty and not self._drop_empty:
            raise InputError(
                f"{where} has {empty}: a box must have a width and a height above 0 and a polygon "
                "three corners or more (datamodule.drop_empty_boxes=true leaves such objects out)."
            )
        if empty:
            self._counts["objects have no area and are left out"] += 1
            return None
        if isinstance(shape, Outline):
            self._counts["polygons have no area, as a stray click, and are left out"] += (
                shape.strays
            )
        left, top, right, bottom = map(float, box)
        category, crowd = int(one["category_id"]), int(one.get("iscrowd", 0))
        return Annotated((left, top, right, bottom), category, crowd, shape)

    def _inside(
        self, box: Box, shape: Outline | Runs | None, listed: Json, image: Listed, where: str
    ) -> tuple[Box, Outline | Runs | None]:
        """Return box and shape as they are, or clipped if they reach out of their image."""
        size = image.width, image.height
        outlined = isinstance(shape, Outline) and shape.reaches_out(*size)
        beyond = reaches_out(box, *size)
        if not (beyond or outlined):
            return box, shape
        if not self._clip:
            what = f"box outside its image, {shown(listed)} (left, top, width, height)"
            raise InputError(
                f"{where} has a {what if beyond else 'polygon outside its image,'} in "
                f"{shown(image.file_name)} of {image.width}x{image.height} pixels "
                "(datamodule.clip_boxes=true clips boxes and polygons to the image)."
            )
        self._counts["objects reach out of their images and are clipped"] += 1
        left, right = (min(max(side, 0), image.width) for side in box[::2])
        top, bottom = (min(max(side, 0), image.height) for side in box[1::2])
        clipped = shape.clipped(*size) if isinstance(shape, Outline) else shape
        return (left, top, right, bottom), clipped

    def _report(self) -> None:
        for what, count in self._counts.items():
            if count:
                log.warning(f"{self.path}: {count} {what}.")


def _parts(path: Path) -> dict[str, list[Json]]:
    if not path.is_file():
        raise InputError(f"There is no file {path}: it should hold the annotations, as COCO's do.")
    content = read_json(path)
    parts: dict[str, list[Json]] = {}
    for part in _PARTS:
        value = content.get(part) if isinstance(content, dict) else None
        if not value:
            raise InputError(
                f"{path} has no {part}: COCO's format lists images, annotations and categories."
            )
        if not isinstance(value, list):
            raise InputError(f"{path} has {part}={shown(value)}: it must be a list.")
        parts[part] = value
    return parts


def _has_area(box: Box) -> bool:
    left, top, right, bottom = box
    return left < right and top < bottom


def _labels(own: Annotations, like: Annotations | None) -> dict[int, int]:
    """Return the label of each category by its id."""
    labels = {name: label for label, name in enumerate((like or own).names.values(), start=1)}
    if like and (differing := sorted(labels.keys() ^ set(own.names.values()))):
        raise InputError(
            f"{own.path} and {like.path} do not list the same categories: only one of them has "
            f"{some([shown(name) for name in differing])}."
        )
    return {id: labels[name] for id, name in own.names.items()}
