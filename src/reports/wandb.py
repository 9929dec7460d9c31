"""Logs evaluations and a sweep's report as W&B runs, under the names that training logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..config import Settings, instantiate
from ..files import shortened
from ..loggers.wandb import LONGEST_NAME
from .cells import columns_of
from .front import AXES
from .points import points_of
from .rows import Row, label_of, metric_of


def log_row(
    row: Row, metrics: Mapping[str, object], images: Sequence[object], settings: Settings
) -> None:
    """Log an evaluation as a run of its own.

    Args:
        row: What `result.json` says.
        metrics: Its numbers, by the names that a training logs.
        images: From `masked_images`.
        settings: The configuration, resolved; `logger.wandb` says where to.
    """
    import wandb

    logger = instantiate(settings["logger"]["wandb"], job_type="eval", continues=None)
    try:
        choices = {name: row[name] for name in ("backbone", "method")}
        logger.log_hyperparams(settings | {"choices": choices})
        logger.experiment.log({**metrics, "token_maps": list(images)})
    finally:
        wandb.finish()


def log_report(rows: Sequence[Row], folder: Path, options: Mapping[str, str | None]) -> None:
    """Log a sweep's table, a scatter plot for each cost, and the picture with the Pareto front.

    Seeds are averaged, as in the page.

    Args:
        rows: The sweep's cells.
        folder: The sweep's, where `pareto.png` is.
        options: `conf/logger/wandb.yaml`'s, resolved.
    """
    import wandb

    run = wandb.init(
        project=options["project"],
        entity=options["entity"],
        group=shortened(options["group"] or folder.name, LONGEST_NAME),
        name="pareto",
        job_type="report",
        dir=str(folder),
        mode="offline" if options["offline"] else None,
    )
    metric = str(metric_of(rows[0]))
    title = label_of(rows[0]).partition(" (")[0]
    try:
        points = points_of(rows)
        columns = columns_of(points)
        cells = [[point.get(name) for name in columns] for point in points]
        table = wandb.Table([*columns], cells, allow_mixed_types=True)
        charts = {
            f"pareto/{cost}": wandb.plot.scatter(table, cost, metric, f"{title} against {label}")
            for cost, label in AXES.items()
        }
        picture = wandb.Image(str(folder / "pareto.png"))
        page = wandb.Html((folder / "report.html").read_text(), inject=False)
        run.log({"pareto/table": table, "pareto/picture": picture, "pareto/page": page, **charts})
    finally:
        run.finish()
