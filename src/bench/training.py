"""Times a training step, sparse against dense: `python -m src.bench.training --backbone deit_s`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import median
from typing import TypedDict

import torch

from ..measure.memory import peak_memory_mb
from ..measure.throughput import take_turns
from ..modules.teacher import PRECISIONS
from ..shell.program import one_sentence_errors
from .options import check_counts, check_device, check_seconds
from .report import native_size, reporting
from .steps import steps

SHOWN = (
    "backbone",
    "batch_size",
    "image_size",
    "step",
    "step_ms",
    "over_dense",
    "explicit_over",
    "memory_mb",
)


MODES = ("default", "reduce-overhead", "max-autotune")


class StepRow(TypedDict):
    """Holds the time and memory of one training step, and its settings.

    Attributes:
        over_dense: Median of the turns' ratios to the dense network's step.
        explicit_over: Median of the turns' ratios of the step `explicit`, which computes as the
            released code, to this one; None where there is no such step.
    """

    backbone: str
    rho: float
    batch_size: int
    image_size: int
    precision: str | None
    teacher_precision: str | None
    teacher_compiled: bool
    compile_mode: str | None
    step: str
    step_ms: float
    over_dense: float
    over_dense_least: float
    over_dense_most: float
    explicit_over: float | None
    memory_mb: float
    repeats: int


def measure(
    backbone: str,
    *,
    rho: float,
    batch_size: int,
    image_size: int,
    device: str,
    precision: str | None = None,
    teacher_precision: str | None = None,
    teacher_compiled: bool = False,
    compile_mode: str | None = None,
    repeats: int = 5,
    seconds: float = 0.0,
) -> list[StepRow]:
    """Time the training steps in turns, and return a row for each; arguments as for `steps`."""
    calls = steps(
        backbone,
        rho=rho,
        batch_size=batch_size,
        image_size=image_size,
        device=device,
        precision=precision,
        teacher_precision=teacher_precision,
        teacher_compiled=teacher_compiled,
        compile_mode=compile_mode,
    )
    times = take_turns(calls, repeats=repeats, seconds=seconds)
    place = torch.device(device)
    rows: list[StepRow] = []
    for name, turns in times.items():
        ratios = _ratios(turns, times["dense"])
        explicit = times.get(f"{name} explicit")
        rows.append(
            {
                "backbone": backbone,
                "rho": rho,
                "batch_size": batch_size,
                "image_size": image_size,
                "precision": precision,
                "teacher_precision": teacher_precision,
                "teacher_compiled": teacher_compiled,
                "compile_mode": compile_mode,
                "step": name,
                "step_ms": 1000 * median(turns),
                "over_dense": median(ratios),
                "over_dense_least": min(ratios),
                "over_dense_most": max(ratios),
                "explicit_over": median(_ratios(explicit, turns)) if explicit else None,
                "memory_mb": peak_memory_mb(calls[name], place),
                "repeats": repeats,
            }
        )
    return rows


def _ratios(times: Sequence[float], others: Sequence[float]) -> list[float]:
    return [time / other for time, other in zip(times, others, strict=True)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Time the steps, print a table and write csv and circumstances, also when stopped."""
    options = _parser().parse_args(arguments)
    check_counts("batch", options.batch)
    check_counts("repeats", [options.repeats])
    check_seconds(options.seconds)
    check_device(options.device)
    sizes = options.image_size or [native_size(options.backbone)]
    rows: list[StepRow] = []
    with reporting(rows, options.out, SHOWN, torch.device(options.device)):
        for image_size, batch in product(sizes, options.batch):
            rows += measure(
                options.backbone,
                rho=options.rho,
                batch_size=batch,
                image_size=image_size,
                device=options.device,
                precision=options.precision,
                teacher_precision=options.teacher_precision,
                teacher_compiled=options.teacher_compiled,
                compile_mode=options.compile,
                repeats=options.repeats,
                seconds=options.seconds,
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m src.bench.training",
        description="Time forward and backward of the dense network, the student, and the student "
        "with its teacher and all losses (`whole`), in turns. `removing` takes tokens "
        "out in training too; `explicit` is the released code's way, a softmax over T x T.",
    )
    parser.add_argument("--backbone", default="deit_s", help="a name in conf/backbone")
    parser.add_argument("--rho", type=float, default=0.7, help="base keep ratio")
    parser.add_argument("--batch", type=int, nargs="+", default=[16], help="batch sizes")
    parser.add_argument(
        "--image-size", type=int, nargs="+", help="sides in pixels; the backbone's own by default"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--precision", choices=PRECISIONS, help="autocast of all networks; fp32 by default"
    )
    parser.add_argument(
        "--teacher-precision",
        choices=PRECISIONS,
        help="of the teacher in `whole`, as task.teacher.precision; by default that of all",
    )
    parser.add_argument(
        "--teacher-compiled",
        action="store_true",
        help="compile that teacher, as task.teacher.compiled=true",
    )
    parser.add_argument(
        "--compile",
        nargs="?",
        const="default",
        choices=MODES,
        help="compile the dense network and the students too; reduce-overhead records CUDA graphs",
    )
    parser.add_argument("--repeats", type=int, default=5, help="turns")
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="duration of a turn; one step where it is 0"
    )
    parser.add_argument("--out", type=Path, default=Path("reports/bench_training"), help="folder")
    return parser


if __name__ == "__main__":
    with one_sentence_errors():
        main()
