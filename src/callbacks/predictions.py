"""One line for each evaluated image."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import lightning as L


class PredictionWriter(L.Callback):
    """Writes `image,label,prediction,confidence` for every image of a test, in its order."""

    def __init__(self, path: str, names: Iterable[str] | None) -> None:
        """Write to `path`; images are called by `names`, or numbered."""
        self.path = Path(path)
        self.names: Iterator[Any] | None = iter(names) if names else None

    def on_test_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Open the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("w", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(["image", "label", "prediction", "confidence"])
        self._count = 0

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write a batch."""
        confidence, prediction = outputs["output"].logits.float().softmax(-1).max(-1)
        rows = zip(batch[1].tolist(), prediction.tolist(), confidence.tolist(), strict=True)
        for label, predicted, sure in rows:
            name = self._count if self.names is None else next(self.names)
            self._writer.writerow([name, label, predicted, f"{sure:.4f}"])
            self._count += 1

    def on_test_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Close the file."""
        self._file.close()
