"""Set up a W&B workspace or report of accuracy against cost: `python -m src.dashboard.workspace`.

Needs `pip install wandb-workspaces` and a W&B login.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..errors import InputError, one_sentence_errors

MAPS = "token_maps"


def panels() -> list[tuple[str, list[Any]]]:
    """The sections of the dashboard, each with its panels."""
    import wandb_workspaces.reports.v2 as wr

    def scatter(title: str, cost: str) -> Any:
        x, y = wr.SummaryMetric(cost), wr.SummaryMetric("val/acc1")
        return wr.ScatterPlot(title=title, x=x, y=y)

    def lines(title: str, pattern: str) -> Any:
        return wr.LinePlot(title=title, metric_regex=pattern)

    return [
        (
            "Accuracy against cost",
            [
                scatter("top-1 against GMACs", "complexity/gmacs"),
                scatter("top-1 against images/s", "throughput/images_per_s"),
                scatter("top-1 against share of dense MACs", "complexity/gmacs_share"),
            ],
        ),
        (
            "Keep ratios over time",
            [
                lines("kept in training", r"^keep/\d+$"),
                lines("kept at validation", r"^val_keep/\d+$"),
            ],
        ),
        ("What survives", [wr.MediaBrowser(title="token maps", media_keys=[MAPS])]),
        (
            "Training",
            [
                wr.LinePlot(title="top-1", y=["val/acc1"]),
                lines("loss terms", r"^train/"),
                wr.LinePlot(title="training images/s", y=["throughput/train_images_per_s"]),
            ],
        ),
    ]


def make_workspace(entity: str, project: str) -> Any:
    """A workspace, not saved yet.

    Its runs carry their sweep as `group` but are not grouped: W&B would average a group to one
    point of the scatter plots.
    """
    import wandb_workspaces.workspaces as ws

    sections = [
        ws.Section(name=name, panels=shown, is_open=True, pinned=number == 0)
        for number, (name, shown) in enumerate(panels())
    ]
    columns = ["run:group", "config:choices.method", "config:rho"]
    columns += ["summary:val/acc1", "summary:complexity/gmacs"]
    return ws.Workspace(
        entity=entity,
        project=project,
        name="tokenthrift: accuracy against cost",
        sections=sections,
        runset_settings=ws.RunsetSettings(pinned_columns=columns),
    )


def make_report(entity: str, project: str) -> Any:
    """The same as a report, one page to share, not saved yet."""
    import wandb_workspaces.reports.v2 as wr

    blocks: list[Any] = [wr.TableOfContents()]
    for name, shown in panels():
        runs = wr.Runset(entity=entity, project=project)
        blocks += [wr.H2(name), wr.PanelGrid(runsets=[runs], panels=shown)]
    return wr.Report(
        project=project,
        entity=entity,
        title="Accuracy against cost",
        description="Sparse vision networks beside their dense ones.",
        blocks=blocks,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, build, save."""
    parser = argparse.ArgumentParser(
        prog="python -m src.dashboard.workspace", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("project", help="ENTITY/PROJECT, as your runs log to")
    parser.add_argument("--report", action="store_true", help="a report instead of a workspace")
    options = parser.parse_args(arguments)
    entity, _, project = options.project.partition("/")
    if not entity or not project or "/" in project:
        raise InputError(f"project={options.project} must be ENTITY/PROJECT, as me/tokenthrift.")
    try:
        made = (make_report if options.report else make_workspace)(entity, project)
    except ImportError as error:
        raise InputError(
            f"The dashboard needs the package {error.name}: pip install wandb-workspaces."
        ) from error
    try:
        made.save()
    except Exception as error:  # whatever the client raises without login or network
        raise InputError(
            f"W&B does not save to {options.project} ({type(error).__name__}: {error}): check "
            "`wandb login`, the name and the connection."
        ) from error
    print(made.url)


if __name__ == "__main__":
    with one_sentence_errors():
        main()
