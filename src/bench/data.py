"""Compares loading with training: `python -m src.bench.data datamodule.root=DIR`."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TypedDict

import torch

from ..config import compose_config, instantiate
from ..datamodules.base import ImageDataModule
from ..errors import InputError
from ..measure.throughput import take_turns
from ..shell.program import one_sentence_errors
from .options import check_counts, check_device
from .report import write
from .steps import steps

SHOWN = ("workers", "images_per_s", "step_images_per_s", "keeps_up")


class LoadingRow(TypedDict):
    """Holds the loading rate with some number of workers, beside the rate of a training step."""

    workers: int
    images_per_s: float
    step_images_per_s: float
    keeps_up: bool
    batch_size: int
    repeats: int


def loading_rate(datamodule: ImageDataModule, workers: int, batches: int) -> float:
    """Return the images per second of the training loader alone, after its first batch."""
    datamodule.num_workers = workers
    loaded = iter(datamodule.train_dataloader())
    next(loaded)
    start = time.perf_counter()
    count = sum(1 for _ in islice(loaded, batches))
    if not count:
        raise InputError(
            "The training images do not fill a second batch: lower datamodule.batch_size."
        )
    return count * float(datamodule.batch_size) / (time.perf_counter() - start)


def measure(
    overrides: Sequence[str], *, workers: Sequence[int], batches: int, device: str, repeats: int = 3
) -> list[LoadingRow]:
    """Time loading with each number of workers, and a training step apart from it.

    Args:
        overrides: As for `train.py`; `backbone=NAME` and settings of `datamodule` are used.
        workers: Loader processes to try.
        batches: Batches of one turn.
        device: Device of the training step.
        repeats: Number of turns.

    Returns:
        Rows with `images_per_s` of the loader, the median of turns; `step_images_per_s` of a
        complete training step; and `keeps_up`, whether the first is larger.
    """
    config = compose_config(overrides, ["datamodule", "schedule"])
    datamodule = instantiate(config["datamodule"])
    datamodule.check()
    datamodule.setup("fit")
    turns = [
        {count: loading_rate(datamodule, count, batches) for count in workers}
        for _ in range(repeats)
    ]
    names = [o.partition("=")[2] for o in overrides if o.startswith("backbone=")]
    whole = steps(
        names[-1] if names else "vit_micro",
        rho=config["schedule"].get("rho", 0.7),
        batch_size=datamodule.batch_size,
        image_size=datamodule.image_size,
        device=device,
    )["whole"]
    seconds = median(take_turns({"step": whole}, repeats, seconds=0.0)["step"])
    trained = datamodule.batch_size / seconds
    return [
        {
            "workers": count,
            "images_per_s": median(turn[count] for turn in turns),
            "step_images_per_s": trained,
            "keeps_up": median(turn[count] for turn in turns) > trained,
            "batch_size": datamodule.batch_size,
            "repeats": repeats,
        }
        for count in workers
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Time loading and training, print a table and write csv and circumstances."""
    parser = argparse.ArgumentParser(
        prog="python -m src.bench.data",
        description="Time the training loader with each number of workers, beside a training step "
        "without loading, in images a second.",
    )
    parser.add_argument("overrides", nargs="*", help="as of train.py: backbone=deit_s ...")
    cores = os.cpu_count() or 1
    counts = sorted({0, 1, cores // 2, cores})
    parser.add_argument("--workers", type=int, nargs="+", default=counts, help="processes to try")
    parser.add_argument("--batches", type=int, default=8, help="batches of one turn")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("reports/bench_data"), help="folder")
    options = parser.parse_args(arguments)
    check_counts("workers", options.workers, least=0)
    check_counts("batches", [options.batches])
    check_device(options.device)
    rows = measure(
        options.overrides, workers=options.workers, batches=options.batches, device=options.device
    )
    write(rows, options.out, SHOWN, torch.device(options.device))


if __name__ == "__main__":
    with one_sentence_errors():
        main()
