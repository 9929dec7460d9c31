"""A csv that goes on where a resumed run goes on."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loggers.logger import rank_zero_experiment


class ContinuedCSVLogger(CSVLogger):
    """Lightning's, which would delete what an earlier process wrote into the same folder.

    Rows of steps that are trained again are written anew.
    """

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer."""
        if self._experiment is None:
            os.makedirs(self.log_dir, exist_ok=True)
            self._experiment = _ContinuedWriter(self.log_dir)
        return self._experiment


class _ContinuedWriter(ExperimentWriter):
    def _check_log_dir_exists(self) -> None:
        # Until the first new row says from which step on, the file stays as it is.
        self._old = self._rows() if Path(self.metrics_file_path).is_file() else []

    def save(self) -> None:
        if self._old and self.metrics:
            first = min(row["step"] for row in self.metrics)
            kept = [row for row in self._old if int(row["step"]) < first]
            self.metrics_keys, self._old = sorted(self._old[0]), []
            self._replace(kept)
        super().save()

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self._replace(self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        with Path(self.metrics_file_path).open(newline="") as file:
            # A process killed while it wrote leaves half a row.
            return [row for row in csv.DictReader(file) if None not in row.values()]

    def _replace(self, rows: list[dict[str, Any]]) -> None:
        """At once, so that a process killed meanwhile leaves the file as it was."""
        path = Path(self.metrics_file_path)
        partial = path.with_suffix(".partial")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(path)
