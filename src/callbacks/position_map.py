"""Where in the image tokens survive, over a whole data set (paper A, Figure 6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from ..pictures import draw_position_map


class PositionMap(L.Callback):
    """Draws the share of images in which each position survives, for each location.

    Writes a picture and, beside it under the same name, the numbers as `.csv`: location, row,
    column, share.
    """

    def __init__(self, path: str) -> None:
        """Write to `path`, a `.png`."""
        self.path = Path(path)

    def on_test_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Start counting."""
        self._kept: list[Tensor] = []
        self._images = 0

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count a batch."""
        sums = [decision.sum(dim=0).cpu().double() for decision in outputs["decisions"]]
        before = self._kept or [torch.zeros_like(kept) for kept in sums]
        self._kept = [kept + more for kept, more in zip(before, sums, strict=True)]
        self._images += len(outputs["logits"])

    def on_test_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Draw and write; nothing where nothing is decided."""
        if not self._kept or not trainer.is_global_zero:
            return
        side = int(self._kept[0].numel() ** 0.5)  # images are square
        shares = [(kept / self._images).view(side, side) for kept in self._kept]
        locations = pl_module.student.method.schedule.locations
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draw_position_map(shares, locations, self.path)
        lines = ["location,row,column,share"]
        for location, share in zip(locations, shares, strict=True):
            for row, values in enumerate(share.tolist()):
                lines += [f"{location},{row},{c},{value:.4f}" for c, value in enumerate(values)]
        self.path.with_suffix(".csv").write_text("\n".join(lines) + "\n")
