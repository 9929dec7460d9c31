"""Writes the report of a sweep when it ends."""

from __future__ import annotations

import sys
from pathlib import Path

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class SweepReport(Callback):
    """Writes the report over all cells of the sweep, to W&B too if its runs log there.

    Exits with 2 if any cell has failed.
    """

    def on_multirun_end(self, config: DictConfig, **kwargs: object) -> None:
        """Write the report, in the first of several processes."""
        from lightning.pytorch.utilities import rank_zero_only

        rank_zero_only(_report)(config)


def _report(config: DictConfig) -> None:
    from ..reports.cells import read_rows
    from ..reports.pareto import write_report
    from ..reports.rows import FAILURE

    folder = Path(config.hydra.sweep.dir)
    title = config.get("title")
    report = write_report(folder, None if title is None else str(title))
    if report:
        print(f"Report: {report}")
        if "wandb" in (config.get("logger") or {}):
            from ..reports.wandb import log_report

            keys = ("project", "entity", "group", "offline")
            options = {key: config.logger.wandb[key] for key in keys}
            log_report(read_rows(folder), folder, options)
    failures = sorted(folder.glob(f"**/{FAILURE}"))
    if failures:
        sentence = failures[-1].read_text().partition("\n")[0]
        print(
            f"error: {len(failures)} cells have a {FAILURE} under {folder}, the last one: "
            f"{sentence}",
            file=sys.stderr,
        )
        sys.exit(2)
