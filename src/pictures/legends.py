"""Gives each class its color, and sets a legend of names beside pictures."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

_GAP = 8
_SWATCH = 12
_LINE = 18
_SIZE = 13  # of the font
_ROOM = 150  # pixels that a note has beside a legend of shorter names

# Of classes 0 to 20: each as far as possible in CIELAB from those before it, black and white.
_FIRST = bytes.fromhex(
    "000000 dd77aa 00ff00 0000ff ff9900 447700 0077ff ff11ee 00ffcc ee0033 ddee11"
    "0088aa 774411 ddcc77 771199 554477 ff9977 bbbbff 99ee77 ff0099 66aa88"
)


def color_of(label: int) -> tuple[int, int, int]:
    """Return the color of a class, the same everywhere; 0 is black, and 0 to 20 are easily told."""
    if 3 * label < len(_FIRST):
        first, second, third = _FIRST[3 * label : 3 * label + 3]
        return first, second, third
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618 % 1, 0.9, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def palette() -> list[int]:
    """Return the colors of classes 0 to 255 as Pillow takes them."""
    return [value for number in range(256) for value in color_of(number)]


def readable_on(color: tuple[int, int, int]) -> str:
    """Return the color of text on a color, black or white."""
    red, green, blue = color
    return "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 128 else "white"


def with_legend(
    pictures: Sequence[Image.Image], legend: Mapping[int, str], note: str = ""
) -> Image.Image:
    """Return pictures side by side, and right of them a line for each class.

    Args:
        pictures: Of one height.
        legend: The text of each class, in the order of the lines.
        note: Said below the classes; empty for nothing.
    """
    font = ImageFont.load_default(_SIZE)
    texts = max((font.getlength(text) for text in legend.values()), default=0)
    column = max(round(texts) + _SWATCH + _GAP, _ROOM if note else 0)
    said = wrapped(note, column, font) if note else []
    width = sum(picture.width + _GAP for picture in pictures) + _GAP + column + _GAP
    height = max(pictures[0].height, _LINE * (len(legend) + len(said))) + 2 * _GAP
    canvas = Image.new("RGB", (width, height), "white")
    pen, left, top = ImageDraw.Draw(canvas), _GAP, _GAP
    for picture in pictures:
        canvas.paste(picture, (left, _GAP))
        left += picture.width + _GAP
    for label, text in legend.items():
        pen.rectangle((left, top, left + _SWATCH, top + _SWATCH), fill=color_of(label))
        pen.text((left + _SWATCH + _GAP, top - 2), text, fill="black", font=font)
        top += _LINE
    for line in said:
        pen.text((left, top - 2), line, fill="dimgray", font=font)
        top += _LINE
    return canvas


def wrapped(
    text: str, width: float, font: ImageFont.ImageFont | ImageFont.FreeTypeFont
) -> list[str]:
    """Break text at spaces into lines of at most `width` pixels, if its words are no wider."""
    first, *words = text.split(" ")
    lines = [first]
    for word in words:
        longer = f"{lines[-1]} {word}"
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
