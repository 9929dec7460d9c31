"""Draws classes of pixels and objects over photographs, with a legend of their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .dense import SHOWN, TINT, color_of

_LONGEST = 1024  # pixels of a side of a shown photograph
_SHORTEST = 320
_GAP = 8
_SWATCH = 12


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
    numbers = classes.numpy()
    counts = np.bincount(numbers.ravel(), minlength=len(names))
    colors = np.array([color_of(number) for number in range(len(names))])[numbers]
    pixels = np.asarray(photograph) * (1 - TINT) + colors * TINT
    tinted = Image.fromarray(pixels.astype(np.uint8))
    shown = [int(number) for number in (-counts).argsort(kind="stable") if counts[number]]
    legend = {n: f"{names[n]} ({100 * counts[n] / counts.sum():.0f} %)" for n in shown}
    return _beside([_shown(photograph), _shown(tinted)], legend)


def draw_objects(
    photograph: Image.Image,
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    names: Mapping[int, str],
) -> Image.Image:
    """Draw the boxes of objects with a score from 0.3 with their classes, and a legend.

    Args:
        photograph: In RGB.
        boxes: `(D, 4)`, left, top, right, bottom in its pixels.
        scores: `(D,)`, from 0 to 1.
        labels: `(D,)`, of classes.
        names: Of each label.
    """
    picture = _shown(photograph)
    scale = picture.width / photograph.width
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    sure = [i for i, score in enumerate(scores.tolist()) if score >= SHOWN]
    counts: dict[int, int] = {}
    for i in reversed(sure):  # the surest on top
        label = int(labels[i])
        counts[label] = counts.get(label, 0) + 1
        left, top, right, bottom = (scale * side for side in boxes[i].tolist())
        pen.rectangle((left, top, right, bottom), outline=color_of(label), width=2)
        text = f"{names[label]} {100 * float(scores[i]):.0f} %"
        place = pen.textbbox((left + 2, max(top - 14, 0)), text, font=font)
        pen.rectangle(place, fill=color_of(label))
        pen.text(place[:2], text, fill=_readable_on(color_of(label)), font=font, anchor="lt")
    legend = {label: f"{names[label]} ({count})" for label, count in sorted(counts.items())}
    return _beside([picture], legend)


def palette() -> list[int]:
    """Return the colors of classes 0 to 255 as Pillow takes them."""
    return [value for number in range(256) for value in color_of(number)]


def _shown(photograph: Image.Image) -> Image.Image:
    """Return a photograph at a size at which a legend beside it can be read."""
    longer = max(photograph.size)
    side = min(max(longer, _SHORTEST), _LONGEST)
    width, height = (max(1, round(length * side / longer)) for length in photograph.size)
    return photograph.resize((width, height))


def _beside(pictures: Sequence[Image.Image], legend: Mapping[int, str]) -> Image.Image:
    font = ImageFont.load_default(13)
    line = _SWATCH + 6
    widest = max((font.getlength(text) for text in legend.values()), default=0)
    column = round(widest) + _SWATCH + 3 * _GAP
    width = sum(picture.width + _GAP for picture in pictures) + column
    height = max(pictures[0].height, line * len(legend)) + 2 * _GAP
    canvas = Image.new("RGB", (width + _GAP, height), "white")
    pen, left = ImageDraw.Draw(canvas), _GAP
    for picture in pictures:
        canvas.paste(picture, (left, _GAP))
        left += picture.width + _GAP
    for number, (label, text) in enumerate(legend.items()):
        top = _GAP + line * number
        pen.rectangle((left, top, left + _SWATCH, top + _SWATCH), fill=color_of(label))
        pen.text((left + _SWATCH + _GAP, top - 2), text, fill="black", font=font)
    return canvas


def _readable_on(color: tuple[int, int, int]) -> str:
    red, green, blue = color
    return "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 128 else "white"
