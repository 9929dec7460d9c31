"""Write a page of results over seeds from finished runs: `python -m src.reports.results DIR...`."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ..errors import InputError, printable
from ..files import atomic_file
from ..shell.arguments import is_path, parsed
from ..shell.program import one_sentence_errors
from .cells import read_rows
from .pareto import speedup_note
from .points import DENSE, SEED, points_of
from .rows import RESULT, Row, deviation, is_number, label_of, metric_of

_PLACEHOLDERS = {"root": "DIR", "weights": "FILE", "ckpt_path": "FILE"}
_LEFT_OUT = ("callbacks.progress", "hydra.", "logger", "paths.", "title")


def write_results(folders: Sequence[Path], page: Path) -> int:
    """Write a markdown page with a table for each data set and backbone.

    A row is a setting: the mean over the runs that differ in nothing but their seed, with the
    sample standard deviation (n - 1), GMACs, speed-up, and the command that repeats it. Paths in
    commands become DIR and FILE, with a number where a table has several.

    Args:
        folders: With `result.json` files anywhere below them; a run that lies below two counts
            once.
        page: The file to write.

    Returns:
        How many runs are in it.

    Raises:
        InputError: If a folder is missing, or there is no finished run.
    """
    tables: dict[str, list[dict[str, object]]] = {}
    rows: list[dict[str, object]] = []
    seen: set[Path] = set()
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder}: give that of a sweep, or of runs.")
        for row in read_rows(folder):
            run = folder / str(row["cell"])
            if run.resolve() in seen:  # of a folder within another
                continue
            seen.add(run.resolve())
            own = {"cell": str(run), "named": _data_of(row), "command": _command(run)}
            rows.append({**row, **own})
    if not rows:
        raise InputError(
            f"{', '.join(map(str, folders))}: no {RESULT} here has a metric, gmacs, images_per_s "
            "and speedup, which eval.py and sweeps write."
        )
    for point in points_of([{**row, "swept": []} for row in rows]):
        runs = point["runs"]
        assert isinstance(runs, list)
        heading = f"{point.get('backbone')} on {runs[0]['named']}"
        tables.setdefault(heading, []).append(point)
    parts = [_table(heading, points) for heading, points in sorted(tables.items())]
    note = (
        "Each row: mean ± sample standard deviation (n - 1) over n runs that differ in nothing but "
        f"their seed; no deviation where n is 1. {speedup_note(rows)}"
    )
    with atomic_file(page) as partial:
        partial.write_text("\n\n".join(["# Results", note, *parts]) + "\n", encoding="utf-8")
    return len(rows)


def _table(heading: str, points: Sequence[Row]) -> str:
    """Return a heading and its table, by method and falling rho, dense first."""
    label, paths = label_of(points[0]), _paths(points)
    lines = [
        ["method", "rho", "n", label, "GMACs", "speed-up", "command"],
        ["---"] * 7,
    ]
    for point in sorted(points, key=_order):
        metric = metric_of(point)
        assert metric
        rho, command = point.get("rho"), _of_all_seeds(point, paths)
        lines.append(
            [
                _text(point["method"]),
                "" if rho is None else _text(rho),
                _text(point["n"]),
                _mean(point, metric, ".2f"),
                _mean(point, "gmacs", ".3f"),
                _mean(point, "speedup", ".2f"),
                f"`{_text(command)}`" if command else "",
            ]
        )
    rows = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"## {_text(heading)}\n\n{rows}"


def _order(point: Row) -> tuple[bool, str, float]:
    rho = point.get("rho")
    return point["method"] != DENSE, str(point["method"]), -rho if is_number(rho) else 0.0


def _mean(point: Row, name: str, form: str) -> str:
    value, spread = point.get(name), point.get(deviation(name))
    assert is_number(value)
    return f"{value:{form}}" + (f" ± {spread:{form}}" if is_number(spread) and spread else "")


def _text(value: object) -> str:
    return printable(str(value)).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def _data_of(row: Row) -> str:
    """Return the name of a run's data set: of its folder, or of its class in `conf/datamodule`.

    Older rows do not say it, and the run's settings lack what a checkpoint's record added to them.
    """
    settings, data = row["settings"], row.get("data")
    if data is None and isinstance(settings, dict):
        data = settings.get("datamodule")
    if not isinstance(data, dict):
        return "unknown data"
    root, target = data.get("root"), str(data.get("_target_", "unknown data"))
    return Path(root).name if isinstance(root, str) and root else target.rpartition(".")[2]


def _command(run: Path) -> tuple[str, dict[str, str]] | None:
    """Return a run's program and what its command line set; None where that is not recorded."""
    overrides, hydra = (_yaml(run / ".hydra" / name) for name in ("overrides.yaml", "hydra.yaml"))
    if not isinstance(overrides, list):
        return None
    program = "train"
    if isinstance(hydra, dict):
        job = hydra.get("hydra", {}).get("job", {})
        program = str(job.get("config_name") or program)
    words: dict[str, str] = {}
    for word in overrides:
        key, _, value = str(word).partition("=")
        if key.lstrip("+~").startswith(_LEFT_OUT):
            continue
        words[key] = value
    return program, words


def _paths(points: Sequence[Row]) -> dict[str, list[str]]:
    """Return the different paths that commands of a table have for each setting."""
    found: dict[str, list[str]] = {}
    for _, words in filter(None, map(_command_of, points)):
        for key, value in words.items():
            read = parsed(f"{key}={value}")
            if read and is_path(read.key_or_group) and value not in found.setdefault(key, []):
                found[key].append(value)
    return found


def _placeholder(key: str, path: str, paths: Sequence[str]) -> str:
    """Return what stands for a path, with a number where a table has others."""
    name = _PLACEHOLDERS.get(key.rpartition(".")[2], "PATH")
    return name if len(paths) == 1 else f"{name}{paths.index(path) + 1}"


def _command_of(point: Row) -> tuple[str, dict[str, str]] | None:
    runs = point["runs"]
    assert isinstance(runs, list)
    command: tuple[str, dict[str, str]] | None = runs[0]["command"]
    return command


def _of_all_seeds(point: Row, paths: Mapping[str, Sequence[str]]) -> str:
    """Return one command for all runs of a setting: a sweep over their seeds."""
    command, runs = _command_of(point), point["runs"]
    if command is None:
        return ""
    assert isinstance(runs, list)
    program, words = command
    words = {k: _placeholder(k, v, paths[k]) if k in paths else v for k, v in words.items()}
    seeds = [str(run[SEED]) for run in runs if run.get(SEED) is not None]
    if len(seeds) > 1:
        words = {**words, SEED: ",".join(sorted(set(seeds), key=_natural))}
    many = ["-m"] if len(seeds) > 1 else []
    typed = [f"{key}={value}" if value else key for key, value in words.items()]
    return shlex.join(["python", f"{program}.py", *many, *typed])


def _natural(text: str) -> list[int | str]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def _yaml(file: Path) -> object:
    try:
        return OmegaConf.to_container(OmegaConf.load(file))
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException):
        return None


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page that the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m src.reports.results",
        description="Write a markdown page from the result.json files below folders: a table for "
        "each data set and backbone, mean and standard deviation over seeds, each row with its "
        "command.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="of sweeps or runs")
    parser.add_argument("--out", type=Path, default=Path("reports/results.md"), help="the page")
    options = parser.parse_args(arguments)
    count = write_results(options.folders, options.out)
    print(f"{options.out}: {count} runs")


if __name__ == "__main__":
    with one_sentence_errors():
        main()
