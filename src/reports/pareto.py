"""Writes a sweep's report: tables, pictures and a page of accuracy against what it costs."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from ..errors import some
from ..files import atomic_file
from .cells import columns_of, read_rows
from .chart import COLORS, draw
from .front import AXES, front_of
from .points import points_of, varying
from .rows import Row, deviation, label_of, metric_of
from .tables import write_csv, write_markdown

log = logging.getLogger(__name__)

PAGE = "report.html"
_MAPPED = "maps"
_NOT_SHOWN = ("task", "data")


def write_report(
    folder: Path, title: str | None = None, remarks: Sequence[str] = ()
) -> Path | None:
    """Write the report over all finished cells under `folder`.

    `pareto.csv` and `pareto.md` have a row for each setting, with the mean over seeds, `runs.csv`
    one for each run; `pareto.png`, `.pdf` and `.svg` are the picture, `report.html` is the page.

    Args:
        folder: A sweep's, or any other with finished runs in it.
        title: Heading of the page and the picture; None for one that says what is compared.
        remarks: Sentences below the table, after those that every report has.

    Returns:
        The page's path, or None where no cell has finished.
    """
    rows = read_rows(folder)
    if not rows:
        return None
    points = points_of(rows)
    metrics = sorted({str(metric_of(row)) for row in rows})
    if len(metrics) > 1:
        log.warning(
            f"The runs under {folder} are judged by {' and '.join(metrics)}, which one axis cannot "
            f"compare, and it says {metric_of(rows[0])}: write a report over the folders of each."
        )
    sets = {json.dumps(row["data"], sort_keys=True) for row in rows if row.get("data")}
    if len(sets) > 1:
        log.warning(
            f"The runs under {folder} are of {len(sets)} data sets, which one front compares all "
            "the same: write a report over the folders of each."
        )
    for point in points:
        point["on_front"] = {}
    for cost in AXES:
        for i in front_of(points, cost):
            points[i]["on_front"] = {**_front(points[i]), cost: True}
    title = title or heading(points)
    notes = [speedup_note(rows), *([replicates_note(points)] if len(rows) > len(points) else [])]
    notes += remarks
    write_csv(rows, folder / "runs.csv", columns_of(rows))
    write_csv(points, folder / "pareto.csv", columns_of(points))
    hidden = {"seed", "cell", *map(deviation, columns_of(points))}
    columns = [name for name in columns_of(points) if name not in hidden]
    write_markdown(points, folder / "pareto.md", columns, notes)
    draw(points, folder / "pareto", title)
    page = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    pictures: dict[str, int] = {}
    data = {
        "title": title,
        "folder": folder.resolve().name,
        "points": [_for_page(point, pictures) for point in points],
        "pictures": [*pictures],
        "columns": columns,
        "looks": varying(points),
        "colors": COLORS,
        "axes": AXES,
        "metric": metric_of(rows[0]),
        "metric_label": label_of(rows[0]),
        "notes": notes,
    }
    text = json.dumps(data).replace("<", "\\u003c")  # no text may end or begin a script
    report = folder / PAGE
    with atomic_file(report) as partial:
        partial.write_text(page.replace("/*DATA*/null", text), encoding="utf-8")
    return report


def heading(points: Sequence[Row]) -> str:
    """Return what a report compares, for its heading."""
    methods, backbones = (
        [*dict.fromkeys(str(point.get(name)) for point in points if point.get(name))]
        for name in ("method", "backbone")
    )
    metric = label_of(points[0]).partition(" (")[0]
    on = f" on {some(backbones)}" if backbones else ""
    return f"{metric} against cost: {some(methods)}{on}"


def speedup_note(rows: Sequence[Row]) -> str:
    """Return a sentence that says what `speedup` is and where it was measured."""
    places = [*dict.fromkeys(filter(None, map(_circumstances, rows)))]
    measured = f" ({'; '.join(places)})" if places else ""
    return (
        "speedup: how many times as fast as the dense network, the median of the ratios within "
        f"each turn of one run that times both side by side{measured}. It is not the quotient of "
        "two images_per_s, which are medians by themselves."
    )


def replicates_note(points: Sequence[Row]) -> str:
    """Return a sentence that says what mean, deviation and n are."""
    counts = sorted({str(point["n"]) for point in points}, key=int)
    return (
        "Runs that differ only in seed are one row: mean ± sample standard deviation (n - 1) of "
        f"n = {' or '.join(counts)} runs; the Pareto front is that of the means. "
        "runs.csv has every run."
    )


def _circumstances(row: Row) -> str:
    said = [str(row["device"])] if row.get("device") else []
    for name, words in (
        ("threads", "{} CPU threads"),
        ("batch_size", "batch {}"),
        ("precision", "{}"),
        ("torch", "PyTorch {}"),
    ):
        on_a_gpu = name == "threads" and row.get("device") != "cpu"
        if row.get(name) is not None and not on_a_gpu:
            said.append(words.format(row[name]))
    return ", ".join(said)


def _front(point: Row) -> dict[str, bool]:
    on = point["on_front"]
    assert isinstance(on, dict)
    return on


def _for_page(point: Row, pictures: dict[str, int]) -> dict[str, object]:
    """Return a point without what the page does not show; `pictures` collects the images."""
    runs = point["runs"]
    assert isinstance(runs, list)
    shown = [
        {
            **{name: run.get(name) for name in ("seed", "cell", metric_of(run), *AXES) if name},
            _MAPPED: _numbered(run[_MAPPED], pictures),
        }
        for run in runs
    ]
    return {**{key: value for key, value in point.items() if key not in _NOT_SHOWN}, "runs": shown}


def _numbered(maps: object, pictures: dict[str, int]) -> dict[str, object] | None:
    """Return maps with the numbers of their images, which many runs share."""
    if not isinstance(maps, dict):
        return None
    numbers = [pictures.setdefault(str(image), len(pictures)) for image in maps["images"]]
    return {**maps, "images": numbers}
