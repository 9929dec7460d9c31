"""Draws heat maps of how much of each position survives, over many images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ..files import atomic_file


def draw_position_map(shares: Sequence[Tensor], locations: Sequence[int], path: Path) -> None:
    """Draw one heat map for each location (paper A, Figure 6).

    Args:
        shares: For each location `(rows, columns)`, mean shares in 0..1.
        locations: Written above the maps.
        path: The picture's file.
    """
    _draw([shares], ["all images"], locations, path)


def draw_class_maps(
    shares: Sequence[Sequence[Tensor]], names: Sequence[str], locations: Sequence[int], path: Path
) -> None:
    """Draw one row of heat maps for each class.

    Args:
        shares: For each class, for each location `(rows, columns)`, mean shares in 0..1.
        names: Of the classes.
        locations: Written above the maps.
        path: The picture's file.
    """
    _draw(shares, names, locations, path)


def _draw(
    rows: Sequence[Sequence[Tensor]], names: Sequence[str], locations: Sequence[int], path: Path
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = (2.2 * len(locations) + 1, 2.2 * len(rows) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(rows), len(locations), squeeze=False)
    for line, shares, name in zip(panels, rows, names, strict=True):
        line[0].set_ylabel(name, fontsize=8)
        for panel, share in zip(line, shares, strict=True):
            shown = panel.imshow(share.numpy(), vmin=0, vmax=1, cmap="viridis")
            panel.set_xticks([])
            panel.set_yticks([])
    for panel, share, location in zip(panels[0], rows[0], locations, strict=True):
        panel.set_title(f"block {location}: {100 * share.mean():.0f} %", fontsize=10)
    figure.colorbar(shown, ax=list(panels.flat), label="mean share of a token", aspect=40)
    with atomic_file(path) as partial:
        figure.savefig(partial, dpi=90)
