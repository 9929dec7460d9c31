"""Logs to a csv that a resumed run continues."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning.pytorch.core.saving import save_hparams_to_yaml
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from torch import Tensor

from ..files import atomic_file, naming
from ..lightning_internals import writer_of

log = logging.getLogger(__name__)


class ContinuedCSVLogger(CSVLogger):
    """Logs to `metrics.csv` and keeps the rows of the run that is resumed.

    Lightning's logger would delete the file. Rows of steps that are trained again are replaced.
    """

    @property
    @rank_zero_experiment
    def experiment(self) -> MetricsFile:  # type: ignore[override]
        """Return the writer of `metrics.csv`, made at the first call."""
        return writer_of(self, self._made)

    def _made(self) -> MetricsFile:
        folder = Path(self.log_dir)
        folder.mkdir(parents=True, exist_ok=True)
        return MetricsFile(folder)


class MetricsFile:
    """Appends rows of named numbers to `metrics.csv`, whose columns are sorted by name."""

    def __init__(self, folder: Path) -> None:
        """Write into `folder`; the first new row replaces the file's rows from its step on."""
        self.folder = folder
        self.path = folder / "metrics.csv"
        self.metrics: list[dict[str, float]] = []  # not yet written
        self._hparams: dict[str, object] = {}
        self._columns: list[str] | None = None  # of the file, once something was written

    def log_hparams(self, params: dict[str, object]) -> None:
        """Write settings to `hparams.yaml`."""
        self._hparams |= params
        save_hparams_to_yaml(str(self.folder / "hparams.yaml"), self._hparams)

    def log_metrics(self, metrics: Mapping[str, float | Tensor], step: int | None = None) -> None:
        """Keep a row until the next `save`."""
        numbers = {k: v.item() if hasattr(v, "item") else v for k, v in metrics.items()}
        self.metrics.append({**numbers, "step": len(self.metrics) if step is None else step})

    def save(self) -> None:
        """Write the rows that were logged since the last call.

        Raises:
            OSError: With the file's name, if there is no room.
        """
        if not self.metrics:
            return
        names = set().union(*self.metrics)
        if self._columns is None or names - set(self._columns):
            old = read_metrics(self.path)
            if self._columns is None:
                first = min(row["step"] for row in self.metrics)
                old = [row for row in old if int(row["step"]) < first]
            self._columns = sorted(names.union(*old))
            with atomic_file(self.path) as partial:
                self._append(partial, [dict(zip(self._columns, self._columns, strict=True)), *old])
        with naming(self.path):
            self._append(self.path, self.metrics)
        self.metrics = []

    def _append(self, path: Path, rows: Sequence[Mapping[str, object]]) -> None:
        assert self._columns is not None
        with path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerows(rows)


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Read the rows of a `metrics.csv`, which may be damaged; none where there is no file.

    Incomplete rows, and rows that hold anything but numbers, are left out with a warning.
    """
    if not path.is_file():
        return []
    header, *lines = path.read_bytes().decode("utf-8", errors="replace").split("\n")
    columns, ended = _cells(header), lines[:-1]  # what a killed process wrote last has no end
    good = [cells for cells in map(_cells, ended) if _fit(columns, cells)]
    rows = [dict(zip(columns, cells, strict=True)) for cells in good]
    lost = len(lines) - (lines[-1:] == [""]) - len(rows)
    if lost or (header and "step" not in columns):
        log.warning(
            f"{path} is damaged: {len(rows)} of its rows can be read and are kept, the rest is "
            "left out."
        )
    return rows


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader([line.rstrip("\r")]), [])
    except csv.Error:  # as a NUL on Python 3.10
        return []


def _fit(columns: list[str], row: list[str]) -> bool:
    """Return whether a row has a step and, for each column, a number or nothing."""
    if len(row) != len(columns) or len(set(columns)) != len(columns) or "step" not in columns:
        return False
    try:
        int(row[columns.index("step")])
        [float(cell) for cell in row if cell]
    except ValueError:
        return False
    return True
