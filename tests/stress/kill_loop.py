"""Kill one training many times, resume it each time, and compare it with one left alone.

`python -m tests.stress.kill_loop --kills 20`: the kills (SIGKILL) fall at random steps: half while
a checkpoint is being written, a tenth while the process starts, the others within a step. In the
end checkpoints, csv and the list of files must be the uninterrupted run's, bit for bit. A kill
between a step's checkpoint and its csv row may cost this row of training values, which is counted.
With `--shards` the images come from uneven shards instead of the embedded digits.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import Progress

from src.checkpoints.reading import read_file
from src.datamodules.shards import write_shards

ROOT = Path(__file__).parents[2]
EPOCHS, STEPS = 6, 40  # steps of an epoch
TRAINING = [
    "debug=smoke",
    "callbacks=[default,ema]",
    "callbacks.ema.decay=0.9",
    "callbacks.recent.minutes=null",
    "callbacks.recent.steps=3",
    "callbacks.complexity=null",
    "callbacks.progress=null",
    "callbacks.token_maps=null",
    "datamodule.batch_size=4",
    f"trainer.limit_train_batches={STEPS}",
    f"trainer.max_epochs={EPOCHS}",
    "ckpt_path=last",
]
DIGITS = [
    f"datamodule.train_images={4 * STEPS}",
    "+datamodule.mixup={mixup_alpha: 0.8, cutmix_alpha: 1.0, label_smoothing: 0.1}",
]
STATE = (
    "global_step",
    "state_dict",
    "current_model_state",
    "averaging_state",
    "optimizer_states",
    "lr_schedulers",
)
PATIENCE = 180  # seconds for a process to get on


class Run:
    """A training in a folder of its own, temporary files included, by one process at a time."""

    def __init__(self, folder: Path, data: list[str]) -> None:
        self.data = data
        self.folder, self.run, self.temporary = folder, folder / "run", folder / "tmp"
        self.temporary.mkdir(parents=True)

    def start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "output.txt").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "train.py", *TRAINING, *self.data, f"hydra.run.dir={self.run}"],
                cwd=ROOT,
                env=os.environ | {"TMPDIR": str(self.temporary)},
                stdout=output,
                stderr=output,
            )

    def finish(self) -> None:
        if self.start().wait() != 0:
            fail(f"a process ended by itself with an error: see {self.folder / 'output.txt'}")

    def checkpoints(self) -> list[Path]:
        return sorted((self.run / "checkpoints").glob("*.ckpt"))

    def saving(self) -> set[Path]:
        """Folders of checkpoints that are not yet where they belong."""
        return set(self.run.glob("checkpoints/.*.partial"))

    def files(self) -> set[str]:
        """Names of all files but those of killed writes, which are removed after a day."""
        files = (p.relative_to(self.run) for p in self.run.rglob("*") if p.is_file())
        return {str(p) for p in files if not p.parent.name.endswith(".partial")}

    def written(self) -> int:
        """When the csv was last changed."""
        path = self.run / "csv" / "metrics.csv"
        return path.stat().st_mtime_ns if path.is_file() else 0

    def rows(self) -> list[dict[str, str]]:
        """The csv's rows without empty cells and measured speeds."""
        path = self.run / "csv" / "metrics.csv"
        if not path.is_file():
            return []
        with path.open(newline="") as file:
            return [
                {k: v for k, v in row.items() if v and not k.startswith("throughput/")}
                for row in csv.DictReader(file)
            ]

    def step(self) -> int:
        return max((int(row["step"]) for row in self.rows() if "step" in row), default=-1)


def shards(folder: Path) -> list[str]:
    """Pack noise into shards, the last of which is shorter, and return the settings for them."""
    rng = np.random.default_rng(0)
    for split, images in (("train", 4 * STEPS + 3), ("val", 10)):
        for number in range(images):
            file = folder / "images" / split / str(number % 10) / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(file)
    write_shards(folder / "images", folder / "shards", images=30)
    return [
        "datamodule=imagenet",
        "datamodule.dataset=wds/any",
        f"datamodule.root={folder / 'shards'}",
    ]


def fail(sentence: str) -> None:
    sys.exit(f"kill_loop: FAILED: {sentence}")


def wait_until(condition: Callable[[], object], run: Run, process: Any, pause: float) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if process.poll() is not None:
            fail(f"a process ended before it was killed: see {run.folder / 'output.txt'}")
        if time.monotonic() > end:
            process.kill()
            fail(f"nothing happened for {PATIENCE} s: see {run.folder / 'output.txt'}")
        time.sleep(pause)


def kill(run: Run, kind: str, step: int, rng: random.Random) -> bool:
    """Kill a process once it has come to `step`; whether it was writing a checkpoint."""
    before, left = run.written(), run.saving()
    process = run.start()
    if kind == "start":
        time.sleep(rng.uniform(0, 8))
    else:
        wait_until(lambda: run.written() != before and run.step() >= step, run, process, 0.01)
        if kind == "save":
            wait_until(lambda: run.saving() - left, run, process, 0.0002)
        time.sleep(rng.uniform(0, 0.02 if kind == "save" else 0.3))
    process.kill()
    process.wait()
    for path in run.checkpoints():
        read_file(path)  # raises if it is torn
    return bool(run.saving() - left)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def compare(whole: Run, parts: Run, kills: int) -> int:
    """Fail where the two differ; how many rows of training values are lost."""
    if whole.files() != parts.files():
        fail(f"files differ: {sorted(whole.files() ^ parts.files())}")
    for path in whole.checkpoints():
        wanted, found = read_file(path), read_file(parts.run / "checkpoints" / path.name)
        different = [k for k in STATE if k in wanted and not same(wanted[k], found.get(k))]
        if path.stem != "recent" and different:
            fail(f"{path.name} differs in {', '.join(different)}")
    wanted, found = whole.rows(), parts.rows()
    lost = [row for row in wanted if row not in found]
    strange = [row for row in found if row not in wanted]
    if strange or len(found) + len(lost) != len(wanted):
        fail(f"rows that the uninterrupted run has not, or twice: {strange or len(found)}")
    if len(lost) > kills or any(name.startswith("val/") for row in lost for name in row):
        fail(f"rows are missing: {lost}")
    return len(lost)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.stress.kill_loop", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--shards", action="store_true", help="train on shards")
    parser.add_argument("--folder", type=Path, default=ROOT / "reports" / "stress" / "kill_loop")
    options = parser.parse_args()

    shutil.rmtree(options.folder, ignore_errors=True)
    began, rng = time.monotonic(), random.Random(options.seed)
    data = shards(options.folder) if options.shards else DIGITS
    whole, parts = (Run(options.folder / name, data) for name in ("whole", "parts"))
    steps = sorted(rng.sample(range(EPOCHS * STEPS - 12), options.kills))
    kinds = [("save", "step")[number % 2] for number in range(options.kills)]
    kinds = ["start" if number % 10 == 9 else kind for number, kind in enumerate(kinds)]
    amid = 0
    with Progress() as progress:
        task = progress.add_task("uninterrupted", total=options.kills + 2)
        whole.finish()
        for number, (kind, step) in enumerate(zip(kinds, steps, strict=True), start=1):
            progress.update(task, advance=1, description=f"kill {number} at step {step} ({kind})")
            amid += kill(parts, kind, step, rng)
        progress.update(task, advance=1, description="to the end")
        parts.finish()
    lost = compare(whole, parts, options.kills)
    print(
        f"kill_loop: {options.kills} kills, {amid} of them amid a save and {kinds.count('start')} "
        f"in the start, of one training of {EPOCHS * STEPS} steps: weights, average, optimizer and "
        f"metrics are bit for bit the uninterrupted run's, {lost} of {len(whole.rows())} csv rows "
        f"lost ({time.monotonic() - began:.0f} s, seed {options.seed})."
    )


if __name__ == "__main__":
    main()
