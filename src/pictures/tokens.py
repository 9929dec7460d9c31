"""Draws images beside what a method leaves of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..datamodules.normalization import Normalization
from ..errors import InputError
from ..modules.backbones.base import SparseOutput
from .legends import wrapped
from .patch_grid import PatchGrid

_GAP = 4
_HEADER = 16
_LINE = 12  # that each further line of a title adds to the header
_TILE = 160  # least side of a shown image
_STRIP = 64  # least height of a clip's frames
_NEAREST = Image.Resampling.NEAREST
_FADE = 0.2  # what is left of a dropped patch; the rest is white
_FIRST, _SECOND = (0.13, 0.35, 0.8), (0.9, 0.4, 0.05)  # blue and orange


def draw_token_maps(
    images: Tensor,
    output: SparseOutput,
    normalization: Normalization,
) -> Image.Image:
    """Draw one row an image: the input, then what each location leaves of it.

    Dropped patches are faded; patches that merged show their common color.

    Args:
        images: `(B, 3, S, S)`, or clips `(B, 3, T, S, S)`, normalized.
        output: The student's, at inference.
        normalization: Of the images.

    Raises:
        InputError: If `output` is none of a student, or of another number of images.
    """
    if not isinstance(output, SparseOutput):
        raise InputError(
            f"output is a {type(output).__name__}: give what the student returns, student(images)."
        )
    if len(output.logits) != len(images):
        raise InputError(
            f"output is of {len(output.logits)} images, and {len(images)} are given: give those "
            "that the student was given."
        )
    images, output = in_a_row(seen(images, output), output)
    columns = [normalization.undo(images), *survivors(images, output, normalization)]
    return grid(columns, ["input", *survivors_titles(output)])


def survivors(
    images: Tensor,
    output: SparseOutput,
    normalization: Normalization,
) -> list[Tensor]:
    """Return what each location leaves of the images, `(B, 3, S, S)` in 0..1.

    Dropped patches are faded; patches that merged show their common color.

    Args:
        images: `(B, 3, S, S)`, normalized.
        output: The student's, at inference.
        normalization: Of the images.
    """
    pixels, left = normalization.undo(images), []
    patches = PatchGrid.of(output, pixels)
    for step in output.steps:
        shown = pixels
        if step.source is not None:
            share = step.shares().to(pixels)
            shown = _merged(pixels, step.source.to(pixels.device), share, patches)
        kept = patches.enlarged(step.keep.to(pixels), pixels) > 0.5
        left.append(torch.where(kept, shown, _FADE * shown + (1 - _FADE)))
    return left


def survivors_titles(output: SparseOutput) -> list[str]:
    """Return for each location its name and the share of tokens that it leaves."""
    return [
        f"block {step.location}: {100 * step.shares().float().mean():.0f} %"
        for step in output.steps
    ]


def draw_disagreement(
    images: Tensor,
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    names: tuple[str, str],
    locations: Sequence[int],
    normalization: Normalization,
    patches: PatchGrid | None = None,
) -> Image.Image:
    """Draw one row an image: what both methods keep is plain, what neither keeps is faded.

    Blue is what the first keeps more of, orange what the second does.

    Args:
        images: `(B, 3, S, S)`, normalized.
        first: For each location the shares `(B, patches)` of one method, `Step.shares`.
        second: Likewise of the other.
        names: Of both methods.
        locations: Written above the columns.
        normalization: Of the images.
        patches: Where patches lie in the images; by default they are square.
    """
    pixels = normalization.undo(images)
    patches = patches or PatchGrid.of_squares(first[0].shape[1], images)
    columns, titles = [pixels], [f"blue {names[0]}, orange {names[1]}"]
    for one, other, location in zip(first, second, locations, strict=True):
        blue, orange = (patches.enlarged(share, pixels) for share in (one, other))
        shown = pixels.lerp(torch.ones_like(pixels), (1 - blue.maximum(orange)) * (1 - _FADE))
        for color, more in ((_FIRST, blue - orange), (_SECOND, orange - blue)):
            tint = pixels.new_tensor(color)[:, None, None].expand_as(pixels)
            shown = shown.lerp(tint, 0.55 * more.clamp(min=0))
        columns.append(shown)
        overlap = overlaps(one, other).mean()
        titles.append(f"block {location}: {100 * overlap:.0f} % common")
    return grid(columns, titles)


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Return the share of what either method keeps that both keep, `(B,)` in 0..1.

    Args:
        first: Shares `(B, patches)` of one method.
        second: Likewise of the other.
    """
    least, most = (f(first, second).sum(dim=1) for f in (torch.minimum, torch.maximum))
    return least / most.clamp(min=1e-12)


def seen(images: Tensor, output: SparseOutput) -> Tensor:
    """Crop `images (B, 3, S, S)`, or clips, to what the patches of `output` cover."""
    if output.covered is None:
        return images
    height, width = output.covered
    return images[..., :height, :width]


def in_a_row(
    images: Tensor, output: SparseOutput, middle: bool = False
) -> tuple[Tensor, SparseOutput]:
    """Lay the frames of clips side by side, and what is said of their patches likewise.

    Args:
        images: `(B, 3, T, H, W)` as `seen` returns them; what is no clip stays as it is.
        output: Of them.
        middle: Take the tubelets in the middle of the clip alone.

    Returns:
        `(B, 3, H, t W)`, the first frame of each tubelet, and the output of such images.
    """
    if images.ndim != 5 or output.grid is None:
        return images, output
    shape = output.grid
    taken = slice(shape[0] // 2, shape[0] // 2 + 1) if middle else slice(None)
    frames = images[:, :, :: -(-images.shape[2] // shape[0])][:, :, taken]

    def placed(patches: Tensor) -> Tensor:
        return patches.unflatten(1, shape)[:, taken].transpose(1, 2).flatten(1)  # rows come first

    steps = tuple(
        replace(
            step,
            keep=placed(step.keep),
            source=None if step.source is None else placed(step.source),
        )
        for step in output.steps
    )
    strips = frames.transpose(2, 3).flatten(3)  # (B, 3, H, t W)
    grid = shape[1], frames.shape[2] * shape[2]
    return strips, replace(output, steps=steps, grid=grid, covered=None)


def grid(columns: Sequence[Tensor], titles: Sequence[str]) -> Image.Image:
    """Draw columns of images `(B, 3, S, S)` in 0..1 with a title above each.

    A title wider than its column is broken into lines. Wide pictures, as of clips, stand below each
    other.
    """
    if columns[0].shape[-1] > 2 * columns[0].shape[-2]:
        return _strips(columns, titles)
    side = max(_TILE, columns[0].shape[-1])
    font = ImageFont.load_default()
    broken = [wrapped(title, side, font) for title in titles]
    header = _HEADER + _LINE * (max(map(len, broken)) - 1)
    width = len(columns) * (side + _GAP) + _GAP
    height = len(columns[0]) * (side + _GAP) + _GAP + header
    canvas = Image.new("RGB", (width, height), "white")
    text = ImageDraw.Draw(canvas)
    for j, (column, lines) in enumerate(zip(columns, broken, strict=True)):
        left = _GAP + j * (side + _GAP)
        for number, line in enumerate(lines):
            text.text((left, 2 + _LINE * number), line, fill="black")
        for i, image in enumerate(column):
            array = (image.permute(1, 2, 0).float().cpu().numpy() * 255).astype(np.uint8)
            tile = Image.fromarray(array).resize((side, side), _NEAREST)
            canvas.paste(tile, (left, header + _GAP + i * (side + _GAP)))
    return canvas


def _strips(rows: Sequence[Tensor], titles: Sequence[str]) -> Image.Image:
    """Draw for each wide image `(B, 3, H, W)` its rows below each other, with their titles."""
    count, _, height, width = rows[0].shape
    scale = max(1, _STRIP // height)
    line = scale * height + _HEADER + _GAP
    canvas = Image.new("RGB", (scale * width + 2 * _GAP, count * len(rows) * line), "white")
    text = ImageDraw.Draw(canvas)
    for number in range(count * len(rows)):
        i, j = divmod(number, len(rows))
        text.text((_GAP, number * line + 2), titles[j], fill="black")
        array = (rows[j][i].permute(1, 2, 0).float().cpu().numpy() * 255).astype(np.uint8)
        tile = Image.fromarray(array).resize((scale * width, scale * height), _NEAREST)
        canvas.paste(tile, (_GAP, number * line + _HEADER))
    return canvas


def _merged(pixels: Tensor, source: Tensor, share: Tensor, patches: PatchGrid) -> Tensor:
    """Fill patches that share a token with their mean color; keep the others as they are."""
    colors = patches.means(pixels)  # (B, 3, patches)
    index = source.clamp(min=0).unsqueeze(1).expand_as(colors)
    sums = torch.zeros_like(colors).scatter_add(2, index, colors * share.unsqueeze(1))
    mean = patches.enlarged(sums.gather(2, index), pixels)
    shares = patches.enlarged(share, pixels)
    return torch.where((shares > 0) & (shares < 0.99), mean, pixels)
