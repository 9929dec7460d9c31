"""A sweep's report as a W&B run of its own, in the group of the sweep's runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .report import AXES, COLUMNS


def log_report(rows: Sequence[dict[str, Any]], folder: Path, options: dict[str, Any]) -> None:
    """Log the table, a scatter plot for each cost, and the picture with the Pareto front.

    Args:
        rows: The sweep's cells.
        folder: The sweep's, where `pareto.png` is.
        options: `conf/logger/wandb.yaml`'s, resolved.
    """
    import wandb

    run = wandb.init(
        project=options["project"],
        group=options["group"] or folder.name,
        name="pareto",
        job_type="report",
        dir=str(folder),
        mode="offline" if options["offline"] else None,
    )
    try:
        table = wandb.Table(list(COLUMNS), [[row.get(name) for name in COLUMNS] for row in rows])
        charts = {
            f"pareto/{cost}": wandb.plot.scatter(table, cost, "acc1", f"top-1 against {label}")
            for cost, label in AXES.items()
        }
        picture = wandb.Image(str(folder / "pareto.png"))
        run.log({"pareto/table": table, "pareto/picture": picture, **charts})
    finally:
        run.finish()
