"""Reads the finished cells under a folder, each with what its command line set."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ..errors import some
from ..shell.arguments import parsed
from .rows import RESULT, SETTINGS, Row, deviation, metrics_of, read_json, read_maps, read_row

log = logging.getLogger(__name__)

# What every report says of a run, before and after what a sweep varies and what its task measures.
FIRST = ("backbone", "method", "rho")
_LAST = (
    "gmacs",
    "gmacs_share",
    "images_per_s",
    "speedup",
    "whole_gmacs",
    "whole_gmacs_share",
    "whole_images_per_s",
    "whole_speedup",
    "params_m",
    "batch_size",
    "device",
    "precision",
    "threads",
    "torch",
    "seed",
    "cell",
)
_HEADING = "title"  # on the command line: of the report, no setting of a run


def read_rows(folder: Path) -> list[dict[str, object]]:
    """Return the rows of the finished cells under `folder`, by name.

    Each has beside its numbers its `cell`, its `maps`, all of its `settings`, what its command line
    set as `typed` (None where these cannot be read), a column for each key that the cells set
    differently, and the names of these columns as `swept`. Cells whose results cannot be read are
    left out and named in one warning.
    """
    rows: list[dict[str, object]] = []
    settings: list[dict[str, int | float | str] | None] = []
    broken = []
    for path in sorted(folder.glob(f"**/{RESULT}")):
        row, name = read_row(path.parent), str(path.parent.relative_to(folder))
        if row is None:
            broken.append(name)
            continue
        settings.append(_overrides(path.parent / ".hydra" / "overrides.yaml"))
        own = {"maps": read_maps(path.parent), "settings": read_json(path.parent / SETTINGS)}
        rows.append({**row, "cell": name, "typed": settings[-1], **own})
    if broken:
        log.warning(
            f"The report leaves out {some(broken)}: {RESULT} there lacks a number for a metric or "
            "a cost, so give the sweep's command again to do what is missing."
        )
    typed = [one or {} for one in settings]
    varied = {key for one in typed for key in one if any(o.get(key) != one[key] for o in typed)}
    for row, one in zip(rows, typed, strict=True):
        row |= {key: one[key] for key in sorted(varied & one.keys()) if key not in row}
        row["swept"] = sorted(varied - {*FIRST, *_LAST})
    return rows


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Return the columns of a table: choices, what the sweep varies, metrics, costs.

    Where `rows` are means of runs, the number of runs and the deviations have columns too.
    """
    swept = rows[0]["swept"]
    assert isinstance(swept, list)
    metrics = dict.fromkeys(name for row in rows for name in metrics_of(row))
    names = [*dict.fromkeys((*FIRST, *swept, "n", *metrics, *_LAST))]
    means = "n" in rows[0]
    columns = []
    for name in names:
        columns += [name] if means or name != "n" else []
        columns += [deviation(name)] if any(deviation(name) in row for row in rows) else []
    return columns


def _overrides(file: Path) -> dict[str, int | float | str] | None:
    """Return what a cell's command line set, or None where its file is missing or damaged."""
    try:
        words = OmegaConf.to_container(OmegaConf.load(file))
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException):
        return None
    if not isinstance(words, list):
        return None
    found = [parsed(word) for word in words if isinstance(word, str)]
    values = {one.key_or_group: one.value() for one in found if one and not one.is_delete()}
    return {
        key: value if isinstance(value, (int, float, str)) else str(value or "null")
        for key, value in values.items()
        if key != _HEADING
    }
