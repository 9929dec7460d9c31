"""Writes the objects of each image as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor
from typing_extensions import override

from ..errors import printable
from ..files import atomic_file, naming
from ..modules.heads.base import DenseOutput, Output
from ..pictures.overlays import draw_objects, mask_on
from .base import Drawn, Predicted, Predictions, Record
from .placing import boxes_on, part_of_frame


class BoxLines(Predictions):
    """Writes a line of JSON for each image: `file`, `width`, `height`, and its objects.

    `boxes` are left, top, right and bottom in pixels of the image, `scores` from 0 to 1, `labels`
    numbers of classes (0 is the background) and `classes` their names; the surest object is first.
    Mask R-CNN adds `masks` at the image's size, compressed runs of COCO with `size` and `counts`,
    which `pycocotools.mask.decode` reads.
    """

    default = "predictions.jsonl"

    @override
    def start(self) -> None:
        partial = self.open.enter_context(atomic_file(self.path))
        self._file = self.open.enter_context(partial.open("w", encoding="utf-8"))

    @override
    def write(
        self, images: Sequence[Predicted], output: Output, target: object | None = None
    ) -> None:
        assert isinstance(output, DenseOutput)
        lines = []
        for image, found in zip(images, output.detections, strict=True):
            boxes, scores, labels = _sorted(found, image.size, image.frame)
            line: dict[str, object] = {
                "file": printable(image.name),
                "width": image.size[0],
                "height": image.size[1],
                "boxes": [[round(side, 2) for side in box] for box in boxes.tolist()],
                "scores": [round(score, 4) for score in scores.tolist()],
                "labels": labels.tolist(),
                "classes": [self.options.name(label) for label in labels.tolist()],
            }
            masks = _masks(found, image.size, image.frame)
            if masks is not None:
                line["masks"] = [_runs(mask_on(mask, image.size)) for mask in masks]
            lines.append(line)
        self.emit(lines)

    @override
    def put(self, records: Sequence[Record]) -> None:
        with naming(self.path):
            self._file.writelines(json.dumps(line) + "\n" for line in records)

    @override
    def draw(self, image: Drawn, output: Output) -> Image.Image:
        assert isinstance(output, DenseOutput)
        (found,) = output.detections
        boxes, scores, labels = _sorted(found, image.photograph.size, image.frame)
        names = {label: self.options.name(label) for label in labels.tolist()}
        masks = _masks(found, image.photograph.size, image.frame)
        least = self.options.min_score
        return draw_objects(image.photograph, boxes, scores, labels, names, masks, least)


def _masks(
    found: dict[str, Tensor], size: tuple[int, int], frame: tuple[int, int]
) -> Tensor | None:
    """Return the masks `(D, h, w)` of Mask R-CNN within the photograph, by falling scores."""
    if "masks" not in found:
        return None
    width, height = part_of_frame(size, frame)
    order = _order(found)
    return found["masks"][order, 0, :height, :width].float().cpu()


def _runs(mask: Tensor) -> dict[str, object]:
    """Return a mask `(H, W)` as runs, which COCO's tools compress to text."""
    from pycocotools import mask as coco

    runs = coco.encode(np.asfortranarray(mask.numpy(), dtype=np.uint8))
    return {"size": list(mask.shape), "counts": runs["counts"].decode("ascii")}


def _order(found: dict[str, Tensor]) -> Tensor:
    return found["scores"].argsort(descending=True, stable=True)


def _sorted(
    found: dict[str, Tensor], size: tuple[int, int], frame: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes on the photograph, scores and labels, by falling scores."""
    order = _order(found)
    boxes, scores, labels = (
        found[key][order].float().cpu() for key in ("boxes", "scores", "labels")
    )
    return boxes_on(boxes, size, frame), scores, labels.long()
