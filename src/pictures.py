"""Pictures that show what a method does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

_GAP = 4
_HEADER = 16
_TILE = 160  # least side of a shown image
_FADE = 0.2  # what is left of a dropped patch; the rest is white


def draw_token_maps(
    images: Tensor,
    decisions: Sequence[Tensor],
    locations: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
) -> Image.Image:
    """One row an image: the input, then what survives each location, dropped patches faded.

    Args:
        images: `(B, 3, S, S)`, normalized by `mean` and `std`.
        decisions: For each location `(B, patches)`, 1 = keep.
        locations: Written above the columns.
        mean: Per channel.
        std: Per channel.
    """
    scale = images.new_tensor(std)[:, None, None]
    shift = images.new_tensor(mean)[:, None, None]
    pixels = (images * scale + shift).clamp(0, 1)
    side = max(_TILE, images.shape[-1])
    columns = [pixels] + [_faded(pixels, decision) for decision in decisions]
    titles = ["input"] + [
        f"before block {location}: {100 * decision.float().mean():.0f} %"
        for location, decision in zip(locations, decisions, strict=True)
    ]
    width = len(columns) * (side + _GAP) + _GAP
    height = len(images) * (side + _GAP) + _GAP + _HEADER
    canvas = Image.new("RGB", (width, height), "white")
    text = ImageDraw.Draw(canvas)
    for j, (column, title) in enumerate(zip(columns, titles, strict=True)):
        left = _GAP + j * (side + _GAP)
        text.text((left, 2), title, fill="black")
        for i, image in enumerate(column):
            array = (image.permute(1, 2, 0).float().cpu().numpy() * 255).astype(np.uint8)
            tile = Image.fromarray(array).resize((side, side), Image.Resampling.NEAREST)
            canvas.paste(tile, (left, _HEADER + _GAP + i * (side + _GAP)))
    return canvas


def draw_position_map(shares: Sequence[Tensor], locations: Sequence[int], path: Path) -> None:
    """Heat maps of how often each position survives, one for each location.

    Args:
        shares: For each location `(rows, columns)`, in 0..1.
        locations: Written above the maps.
        path: The picture's file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(shares) + 0.8, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(shares), squeeze=False)[0]
    for panel, share, location in zip(panels, shares, locations, strict=True):
        shown = panel.imshow(share.numpy(), vmin=0, vmax=1, cmap="viridis")
        panel.set_title(f"block {location}: {100 * share.mean():.0f} % kept")
        panel.set_xticks([])
        panel.set_yticks([])
    figure.colorbar(shown, ax=list(panels), label="share of images")
    figure.savefig(path, dpi=110)


def _faded(pixels: Tensor, decision: Tensor) -> Tensor:
    grid = math.isqrt(decision.shape[1])  # images are square
    kept = decision.float().view(-1, 1, grid, grid)
    kept = F.interpolate(kept, size=pixels.shape[-2:], mode="nearest")
    return torch.where(kept > 0.5, pixels, _FADE * pixels + (1 - _FADE))
