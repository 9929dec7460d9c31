"""Writes the embedding of each image as a table, or packed with numpy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
from torch import Tensor
from typing_extensions import override

from ..files import atomic_file, naming
from ..modules.heads.base import Output, of_student
from .base import Predicted, Record
from .labels import Table

_PACKED = ".npz"


class EmbeddingTable(Table):
    """Writes `file` and a column for each number of the embedding.

    A path that ends in `.npz` gets numpy's format instead: `files (N,)` and `embeddings (N, D)` in
    float32, gathered in memory until the last image.
    """

    default = "embeddings.csv"

    @override
    def start(self) -> None:
        self._files: list[str] = []
        self._rows: list[npt.NDArray[np.float32]] = []
        if self.path.suffix != _PACKED:
            super().start()
            return
        partial = self.open.enter_context(atomic_file(self.path))
        self.open.callback(self._pack, partial)

    @override
    def write(
        self, images: Sequence[Predicted], output: Output, target: object | None = None
    ) -> None:
        embeddings = of_student(output).logits.float().cpu().numpy()
        if self.path.suffix == _PACKED:
            self.emit([[i.name, row.tolist()] for i, row in zip(images, embeddings, strict=True)])
            return
        header = ["file", *(f"e{number}" for number in range(embeddings.shape[1]))]
        rows = [
            [image.name, *(f"{value:.6g}" for value in row)]
            for image, row in zip(images, embeddings, strict=True)
        ]
        self.write_rows(header, rows)

    @override
    def put(self, records: Sequence[Record]) -> None:
        if self.path.suffix != _PACKED:
            super().put(records)
            return
        for name, row in cast("Sequence[tuple[str, list[float]]]", records):
            self._files.append(name)
            self._rows.append(np.asarray(row, dtype=np.float32))

    def _pack(self, path: Path) -> None:
        rows = np.stack(self._rows) if self._rows else np.zeros((0, 0), np.float32)
        with naming(self.path):
            np.savez(path, files=np.asarray(self._files, dtype=np.str_), embeddings=rows)

    @override
    def caption(self, logits: Tensor) -> str:
        return f"embedding of {logits.shape[1]} numbers, length {float(logits.norm()):.3g}"
