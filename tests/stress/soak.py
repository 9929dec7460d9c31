"""Train for many epochs in one process and see that neither memory nor open files grow.

`python -m tests.stress.soak --epochs 200`: the smoke configuration, all its callbacks included.
After each epoch the process collects garbage and notes its resident memory and its open files
(`/proc`: Linux only). A line fitted to the second half of the epochs gives the growth.
"""

from __future__ import annotations

import argparse
import csv
import gc
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from matplotlib.figure import Figure
from rich.progress import Progress

ROOT = Path(__file__).parents[2]
MOST_MIB_PER_EPOCH = 0.05  # 10 MiB in 200 epochs


class Watch(L.Callback):
    """Appends `epoch, rss_mib, open_files` to a csv after each epoch."""

    def __init__(self, file: str) -> None:
        self.file = Path(file)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        rss = pages * resource.getpagesize() / 2**20
        with self.file.open("a") as file:
            files = len(os.listdir("/proc/self/fd"))
            file.write(f"{trainer.current_epoch},{rss:.3f},{files}\n")


def train(folder: Path, epochs: int) -> None:
    """Run the training and follow it."""
    samples = folder / "samples.csv"
    samples.write_text("epoch,rss_mib,open_files\n")
    command = [sys.executable, "train.py", "debug=smoke", f"trainer.max_epochs={epochs}"]
    command += [f"+callbacks.watch._target_={__package__}.soak.Watch"]
    command += [f"+callbacks.watch.file={samples}", f"hydra.run.dir={folder / 'run'}"]
    with (folder / "output.txt").open("wb") as output, Progress() as progress:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        task = progress.add_task("epochs", total=epochs)
        while process.poll() is None:
            progress.update(task, completed=len(samples.read_text().splitlines()) - 1)
            time.sleep(0.5)
    if process.returncode != 0:
        sys.exit(f"soak: FAILED: the training ended with an error: see {folder / 'output.txt'}")


def slope(epochs: Any, values: Any) -> tuple[float, float]:
    """Of the line nearest to `values`, and its standard error."""
    (steepness, _), covariance = np.polyfit(epochs, values, 1, cov=True)
    return float(steepness), float(covariance[0, 0] ** 0.5)


def draw(path: Path, epochs: Any, rss: Any, files: Any) -> None:
    figure = Figure(figsize=(7, 4))
    axes = figure.add_subplot()
    axes.plot(epochs, rss)
    axes.set(xlabel="epoch", ylabel="resident memory, MiB")
    right = axes.twinx()
    right.plot(epochs, files, color="tab:orange")
    right.set(ylabel="open files", ylim=(0, 2 * max(files)))
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.stress.soak", description=__doc__)
    parser.add_argument("--epochs", type=int, default=200, help="at least 8")
    parser.add_argument("--folder", type=Path, default=ROOT / "reports" / "stress" / "soak")
    options = parser.parse_args()

    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    began = time.monotonic()
    train(options.folder, options.epochs)
    with (options.folder / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    epochs, rss, files = (
        np.array([float(row[name]) for row in rows]) for name in ("epoch", "rss_mib", "open_files")
    )
    draw(options.folder / "soak.png", epochs, rss, files)
    half = len(epochs) // 2
    growth, error = slope(epochs[half:], rss[half:])
    summary = (
        f"{growth:+.4f} +- {error:.4f} MiB per epoch over the second half of {len(epochs)} epochs "
        f"(at most {MOST_MIB_PER_EPOCH}), {rss[-1]:.0f} MiB and {files[-1]:.0f} open files at the "
        f"end, {files[half]:.0f} at half ({time.monotonic() - began:.0f} s)."
    )
    if growth > MOST_MIB_PER_EPOCH or files[half:].max() > files[:half].max():
        sys.exit(f"soak: FAILED: {summary}")
    print(f"soak: {summary}")


if __name__ == "__main__":
    main()
