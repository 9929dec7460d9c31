"""Writes the report over finished runs anew: `python -m src.reports FOLDER`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..shell.program import one_sentence_errors
from .pareto import write_report
from .rows import RESULT

_TITLE = "title="


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report that the command line asks for; nothing is run."""
    parser = argparse.ArgumentParser(
        prog="python -m src.reports",
        description="Write the report over all finished runs under FOLDER, without running any: "
        "report.html; pareto.png, .pdf, .svg; pareto.csv and .md (means over seeds); runs.csv.",
        epilog="Also: python -m src.reports.compare A B (are two networks different?), "
        "python -m src.reports.workspace ENTITY/PROJECT (a W&B dashboard).",
    )
    parser.add_argument("folder", type=Path, help="of a sweep, or any with runs of eval.py in it")
    parser.add_argument(
        "title", nargs="?", metavar="title=TEXT", help="heading of the page and the picture"
    )
    options = parser.parse_args(arguments)
    if options.title is not None and not options.title.startswith(_TITLE):
        raise InputError(f"{options.title} is no heading: give it as title='{options.title}'.")
    if not options.folder.is_dir():
        raise InputError(f"There is no folder {options.folder}: give that of a sweep.")
    title = (options.title or "").removeprefix(_TITLE).strip()
    report = write_report(options.folder, title or None)
    if report is None:
        raise InputError(
            f"{options.folder} holds no finished run: none of its folders has a {RESULT} with a "
            "metric, gmacs, images_per_s and speedup, which eval.py and sweeps write."
        )
    print(f"Report: {report}")


if __name__ == "__main__":
    with one_sentence_errors():
        main()
