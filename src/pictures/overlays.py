"""Draws classes of pixels and objects over photographs, with a legend of their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from .dense import SHOWN, TINT
from .legends import color_of, readable_on, with_legend

_LONGEST = 1024  # pixels of a side of a shown photograph
_SHORTEST = 320
_INSIDE = 0.4  # of a class's color over the mask of an object
_PAD = 2  # pixels around the text of a label
_LINES = 4  # that a label may lie from its place

_Rectangle: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom


def captioned(picture: Image.Image, text: str) -> Image.Image:
    """Return `picture` with a line of text above it; what is too long for it is cut off."""
    font = ImageFont.load_default(13)
    canvas = Image.new("RGB", (picture.width, picture.height + 20), "white")
    ImageDraw.Draw(canvas).text((4, 3), text, fill="black", font=font)
    canvas.paste(picture, (0, 20))
    return canvas


def draw_classes(photograph: Image.Image, classes: Tensor, names: Sequence[str]) -> Image.Image:
    """Draw a photograph beside the same in the colors of its pixels' classes, and a legend.

    Args:
        photograph: In RGB.
        classes: `(H, W)`, of each of its pixels; class 0 only darkens.
        names: Of all classes; the legend has those that occur, the largest first.
    """
    shown = _shown(photograph)
    numbers = classes.numpy()
    counts = np.bincount(numbers.ravel(), minlength=len(names))
    drawn = F.interpolate(classes[None, None].float(), shown.size[::-1])[0, 0].long().numpy()
    colors = np.array([color_of(number) for number in range(len(names))])[drawn]
    tinted = Image.fromarray((np.asarray(shown) * (1 - TINT) + colors * TINT).astype(np.uint8))
    largest = [int(number) for number in (-counts).argsort(kind="stable") if counts[number]]
    legend = {n: f"{names[n]} ({_percent(counts[n] / counts.sum())})" for n in largest}
    return with_legend([shown, tinted], legend)


def draw_objects(
    photograph: Image.Image,
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    names: Mapping[int, str],
    masks: Tensor | None = None,
    min_score: float = SHOWN,
) -> Image.Image:
    """Draw the boxes of objects that are sure enough with their classes, and a legend.

    The surest lie on top. The legend says how many objects are less sure and not drawn.

    Args:
        photograph: In RGB.
        boxes: `(D, 4)`, left, top, right, bottom in its pixels.
        scores: `(D,)`, from 0 to 1.
        labels: `(D,)`, of classes.
        names: Of each label.
        masks: `(D, h, w)`, how probably each pixel is the object's, over the photograph at any
            resolution; None draws boxes alone.
        min_score: Least score of an object that is drawn.
    """
    picture = _shown(photograph)
    scale = torch.tensor(picture.size) / torch.tensor(photograph.size)
    sure = [i for i, score in enumerate(scores.tolist()) if score >= min_score]
    sure.sort(key=lambda i: float(scores[i]))
    if masks is not None:
        for i in sure:
            picture = _filled(picture, masks[i], color_of(int(labels[i])))
    pen = ImageDraw.Draw(picture)
    drawn = [
        (int(labels[i]), (boxes[i] * scale.repeat(2)).tolist(), float(scores[i])) for i in sure
    ]
    for label, box, _ in drawn:
        pen.rectangle(box, outline=color_of(label), width=2)
    taken: list[_Rectangle] = []
    for label, box, score in reversed(drawn):  # above all boxes
        text = f"{names[label]} {100 * score:.0f} %"
        _label(pen, box, text, color_of(label), picture.size, taken)
    counts = {label: sum(one[0] == label for one in drawn) for label in {one[0] for one in drawn}}
    legend = {label: f"{names[label]} ({counts[label]})" for label in sorted(counts)}
    return with_legend([picture], legend, _left_out(len(sure), len(scores), min_score))


def mask_on(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Return which pixels `(H, W)` of a photograph an object's mask covers.

    Args:
        mask: `(h, w)`, how probably each pixel is the object's, at any resolution.
        size: Width and height of the photograph in pixels.
    """
    enlarged = F.interpolate(mask[None, None].float(), size[::-1], mode="bilinear")
    return enlarged[0, 0] > 0.5


def _left_out(drawn: int, found: int, min_score: float) -> str:
    """Say how many objects are not drawn; nothing if all are."""
    if drawn == found:
        return "" if found else "no objects found"
    return f"{'' if drawn else 'no objects drawn, '}{found - drawn} below {100 * min_score:g} %"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else "< 1 %"


def _filled(picture: Image.Image, mask: Tensor, color: tuple[int, int, int]) -> Image.Image:
    """Return `picture` with the color inside of a mask."""
    inside = 255 * _INSIDE * mask_on(mask, picture.size)
    picture.paste(color, mask=Image.fromarray(inside.to(torch.uint8).numpy()))
    return picture


def _label(
    pen: ImageDraw.ImageDraw,
    box: Sequence[float],
    text: str,
    color: tuple[int, int, int],
    size: tuple[int, int],
    taken: list[_Rectangle],
) -> None:
    """Write text above the left top of a box, moved into a picture of this width and height.

    It goes a little down or up where labels have `taken` its place, and is added to them. Where all
    is taken nothing is written: the legend names the color.
    """
    font = ImageFont.load_default(12)
    right, bottom = pen.textbbox((0, 0), text, font=font)[2:]
    width, height = right + 2 * _PAD, bottom + 2 * _PAD
    left = max(min(box[0], size[0] - width), 0)
    top = box[1] - height if box[1] >= height else box[1]
    top = max(min(top, size[1] - height), 0)
    below_or_above = (top + sign * line * height for sign in (1, -1) for line in range(_LINES))
    places = [
        (left, y, left + width, y + height) for y in below_or_above if 0 <= y <= size[1] - height
    ]
    free = (one for one in places if not any(_overlap(one, other) for other in taken))
    place = next(free, None)
    if place is None:
        return
    taken.append(place)
    left, top, *_ = place
    pen.rectangle(place, fill=color)
    pen.text((left + _PAD, top + _PAD), text, fill=readable_on(color), font=font)


def _overlap(one: _Rectangle, other: _Rectangle) -> bool:
    """Tell whether two rectangles share more than an edge."""
    return all(one[i] < other[i + 2] and other[i] < one[i + 2] for i in (0, 1))


def _shown(photograph: Image.Image) -> Image.Image:
    """Return a photograph at a size at which a legend beside it can be read."""
    longer = max(photograph.size)
    side = min(max(longer, _SHORTEST), _LONGEST)
    width, height = (max(1, round(length * side / longer)) for length in photograph.size)
    return photograph.resize((width, height))
