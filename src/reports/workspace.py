"""Sets up a W&B workspace or report of accuracy against cost: `python -m src.reports.workspace`.

Needs `pip install wandb-workspaces` and a W&B login.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from ..errors import InputError
from ..shell.program import one_sentence_errors

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    Panels: TypeAlias = list[wr.ScatterPlot | wr.LinePlot | wr.MediaBrowser]
    Blocks: TypeAlias = list[wr.TableOfContents | wr.H2 | wr.PanelGrid]

PICTURES = ["token_maps", "pictures"]


def panels(metric: str) -> list[tuple[str, Panels]]:
    """Return the dashboard's sections and their panels; the metric is logged under `val/`."""
    import wandb_workspaces.reports.v2 as wr

    def scatter(label: str, cost: str) -> wr.ScatterPlot:
        x, y = wr.SummaryMetric(cost), wr.SummaryMetric(f"val/{metric}")
        return wr.ScatterPlot(title=f"{metric} against {label}", x=x, y=y)

    def lines(title: str, pattern: str) -> wr.LinePlot:
        return wr.LinePlot(title=title, metric_regex=pattern)

    return [
        (
            "Accuracy against cost",
            [
                scatter("GMACs", "complexity/gmacs"),
                scatter("images/s", "throughput/images_per_s"),
                scatter("share of dense MACs", "complexity/gmacs_share"),
            ],
        ),
        (
            "Keep ratios over time",
            [
                lines("kept in training", r"^keep/\d+$"),
                lines("kept at validation", r"^val_keep/\d+$"),
            ],
        ),
        ("What survives", [wr.MediaBrowser(title="pictures", media_keys=PICTURES)]),
        (
            "Training",
            [
                wr.LinePlot(title=metric, y=[f"val/{metric}"]),
                lines("loss terms", r"^train/"),
                wr.LinePlot(title="training images/s", y=["throughput/train_images_per_s"]),
            ],
        ),
    ]


def make_workspace(entity: str, project: str, metric: str) -> ws.Workspace:
    """Return a workspace, not saved yet.

    Its runs carry their sweep as `group` but are not grouped: W&B would average a group to one
    point of the scatter plots.
    """
    import wandb_workspaces.workspaces as ws

    sections = [
        ws.Section(name=name, panels=[*shown], is_open=True, pinned=number == 0)
        for number, (name, shown) in enumerate(panels(metric))
    ]
    columns = ["run:group", "config:choices.method", "config:rho"]
    columns += [f"summary:val/{metric}", "summary:complexity/gmacs"]
    return ws.Workspace(
        entity=entity,
        project=project,
        name="tokenthrift: accuracy against cost",
        sections=sections,
        runset_settings=ws.RunsetSettings(pinned_columns=columns),
    )


def make_report(entity: str, project: str, metric: str) -> wr.Report:
    """Return the same as a report, one page to share, not saved yet."""
    import wandb_workspaces.reports.v2 as wr

    blocks: Blocks = [wr.TableOfContents()]
    for name, shown in panels(metric):
        runs = wr.Runset(entity=entity, project=project)
        blocks += [wr.H2(name), wr.PanelGrid(runsets=[runs], panels=[*shown])]
    return wr.Report(
        project=project,
        entity=entity,
        title="Accuracy against cost",
        description="Sparse vision networks beside their dense ones.",
        blocks=[*blocks],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the workspace or report that the command line asks for, and save it to W&B."""
    parser = argparse.ArgumentParser(
        prog="python -m src.reports.workspace", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("project", help="ENTITY/PROJECT, as your runs log to")
    parser.add_argument("--report", action="store_true", help="a report instead of a workspace")
    parser.add_argument(
        "--metric", default="acc1", help="of your task, as miou or box_ap; acc1 by default"
    )
    options = parser.parse_args(arguments)
    entity, _, project = options.project.partition("/")
    if not entity or not project or "/" in project:
        raise InputError(f"project={options.project} must be ENTITY/PROJECT, as me/tokenthrift.")
    make = make_report if options.report else make_workspace
    try:
        made = make(entity, project, options.metric)
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
