"""Train under random settings, valid and not: each run ends well or in one sentence.

`python -m tests.stress.fuzz --examples 200`: tiny trainings in this process by `train.py`'s own
entry. A run that ends well must log finite numbers; any other must exit with code 2 and one
sentence on stderr. A traceback, a number that is not finite and a run of more than two minutes are
faults, and are printed with the command that shows them.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import math
import random
import shlex
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import track

from tests.test_bad_inputs import ROOT, one_process, run, sentence_in

SECONDS = 120  # for a run
TINY = [
    "debug=smoke",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=1",
    "callbacks.freeze_backbone.epochs=0",
    "callbacks.complexity=null",
    "callbacks.progress=null",
    "callbacks.throughput=null",
    "callbacks.token_maps=null",
]
# What is drawn for every run.
PLAIN = "dynamicvit evit tome ats mctf attention random static structural dense"
NETWORKS = {
    "vit_micro": PLAIN.split(),
    "swin_micro": ["asymmetric", "dense"],
    "convnext_micro": ["asymmetric", "dense"],
    "deit_t": ["dynamicvit", "tome", "evit"],
    "lvvit_s": ["dynamicvit", "mctf"],
}
SCHEDULES = ["geometric", "linear", "constant", "arithmetic"]
LOSSES = ["dynamicvit", "asymmetric", "classification", "lvvit"]
RHO = ["0.05", "0.3", "0.5", "0.7", "0.9", "1", "1.0"]
# What is drawn for some: usual values, and odd ones.
SETTINGS = {
    "backbone": ([], ["resnet", "null", "''"]),
    "method": (["dynamicvit", "asymmetric", "tome"], ["magic", "[tome,evit]"]),
    "schedule": (["explicit"], ["magic", "null"]),
    "rho": (RHO, ["0", "-0.1", "1.01", "nan", "inf", "null", "true", "[0.5]", "''"]),
    "schedule.locations": (
        ["[1]", "[1,2,3]", "[0,1,2,3,4,5]", "[2,5]"],
        ["[]", "[3,2]", "[1,1]", "[99]", "[1.5]", "[null]", "null", "2", "{a: 1}"],
    ),
    "schedule.ratios": (["[0.9,0.5,0.1]"], ["[]", "[2,1,0.5]", "[a,b,c]", "0.5"]),
    "loss.keep_ratio.weight": (["0", "0.1", "100"], ["-1", "abc", "null", "nan", "[1]"]),
    "loss.keep_ratio.batch_mean": (["true"], ["abc", "3"]),
    "loss.classification.smoothing": (["0", "0.3"], ["2", "-0.1", "abc"]),
    "backbone.image_size": (["32", "48", "64", "96"], ["0", "-8", "33", "abc", "null", "8.5"]),
    "+backbone.options.depth": (["3"], ["0", "-1", "abc"]),
    "+backbone.options.global_pool": (["avg"], ["abc"]),
    "datamodule.batch_size": (["1", "3", "4"], ["0", "-2", "1.5", "100000", "abc", "null"]),
    "datamodule.train_images": (["2", "5"], ["0", "-1", "abc", "1"]),
    "datamodule.val_images": (["1", "3"], ["0", "abc"]),
    "datamodule.num_workers": (["0", "1"], ["-1", "abc", "0.5"]),
    "+datamodule.mixup": (["{mixup_alpha: 0.8}"], ["{magic: 1}", "abc", "3", "{mixup_alpha: abc}"]),
    "optimizer.lr": (["1e-4", "0.01"], ["0", "-1", "abc", "nan"]),
    "optimizer.betas": (["[0.9,0.99]"], ["[0.9]", "[1,1]", "[a,b]", "null", "0.9"]),
    "optimizer.weight_decay": (["0"], ["-1", "abc"]),
    "optimizer.warmup_epochs": (["0.5", "1"], ["-1", "abc"]),
    "trainer.max_epochs": (["2"], ["0", "-1", "abc", "1.5", "null"]),
    "trainer.precision": (["bf16-mixed", "bf16-true", "64-true"], ["16", "abc", "null", "8"]),
    "trainer.accumulate_grad_batches": (["2"], ["0", "abc"]),
    "trainer.gradient_clip_val": (["0", "null"], ["-1", "abc"]),
    "trainer.limit_train_batches": (["1", "0.5"], ["-1", "abc"]),
    "callbacks": (["[default,ema]"], ["magic", "null", "[]"]),
    "callbacks.freeze_backbone.epochs": (["1"], ["-1", "abc"]),
    "callbacks.recent.steps": (["1"], ["abc", "-1"]),
    "callbacks.recent.minutes": (["0.01"], ["abc", "-1", "null"]),
    "callbacks.token_maps": (["{images: 1}"], ["3", "{images: 0}", "{images: abc}"]),
    "task.teacher.precision": (["bf16"], ["abc", "3"]),
    "+method.fast_path": (["mlp", "identity"], ["abc", "null"]),
    "+method.r": (["4", "0"], ["-1", "abc"]),
    "monitor": (["val/acc5"], ["val/foo", "null", "3"]),
    "seed": (["0", "4294967295"], ["-1", "4294967296", "abc", "null"]),
    "logger": (["[csv]"], ["[]", "magic", "null"]),
    "ckpt_path": (["last"], ["nowhere.ckpt", "3"]),
    "hydra.run.dir": ([], ["/dev/null/run"]),
    "+trainer.magic": ([], ["1"]),
    "magic": ([], ["1"]),
}


class Hanging(BaseException):
    """Not an `Exception`, which something on the way might take for an ordinary one."""


class Fault(Exception):
    """How a run must not end."""


def draw(rng: random.Random) -> list[str]:
    """The command line of one run."""
    network = rng.choice(list(NETWORKS))
    chosen = {
        "backbone": network,
        "method": rng.choice(NETWORKS[network]),
        "schedule": rng.choice(SCHEDULES),
        "loss": rng.choice(LOSSES[:3] if network != "lvvit_s" else LOSSES),
        "rho": rng.choice(RHO),
    }
    if network in ("deit_t", "lvvit_s"):
        chosen["backbone.image_size"] = rng.choice(["32", "64"])
    odd = rng.random() < 0.6
    for number, key in enumerate(rng.sample(list(SETTINGS), rng.randint(0, 4))):
        usual, strange = SETTINGS[key]
        values = strange if odd and number == 0 else usual
        if values:
            chosen[key] = rng.choice(values)
    return [*TINY, *(f"{key}={value}" for key, value in chosen.items())]


@contextlib.contextmanager
def limit(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hanging

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(overrides: list[str]) -> str:
    """`trained` or the one sentence; a `Fault` says what else happened."""
    told = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, one_process(Path(folder)):
        try:
            with (
                limit(SECONDS),
                contextlib.redirect_stdout(told),
                contextlib.redirect_stderr(told),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                code = run([ROOT / "train.py", *overrides])
        except Hanging as error:
            raise Fault(f"took more than {SECONDS} s\n{traceback.format_exc()}") from error
        except Exception as error:
            raise Fault(traceback.format_exc()) from error
        if code == 2:
            try:
                return sentence_in(told.getvalue())
            except (AssertionError, IndexError) as error:
                raise Fault(f"exit code 2, but not one sentence:\n{told.getvalue()}") from error
        if code != 0:
            raise Fault(f"exit code {code}\n{told.getvalue()}")
        for path in Path(folder).rglob("metrics.csv"):
            check_finite(path)
    return "trained"


def check_finite(path: Path) -> None:
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            bad = {key: value for key, value in row.items() if value and not finite(value)}
            if bad:
                raise Fault(f"not finite: {bad}")


def finite(value: str) -> bool:
    return math.isfinite(float(value))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.stress.fuzz", description=__doc__)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    began, counts = time.monotonic(), Counter[str]()
    console = Console(file=sys.__stderr__)
    numbers = range(options.examples)
    for number in track(numbers, description="examples", console=console):
        overrides = draw(random.Random(f"{options.seed} {number}"))
        try:
            counts["trained" if outcome(overrides) == "trained" else "refused"] += 1
        except Fault as fault:
            counts["faults"] += 1
            console.print(
                f"{shlex.join(['train.py', *overrides])}\n{fault}", markup=False, soft_wrap=True
            )
    summary = (
        f"{options.examples} random configurations: {counts['trained']} trained, "
        f"{counts['refused']} refused in one sentence, {counts['faults']} faults "
        f"({time.monotonic() - began:.0f} s, seed {options.seed})."
    )
    if counts["faults"]:
        sys.exit(f"fuzz: FAILED: {summary}")
    print(f"fuzz: {summary}")


if __name__ == "__main__":
    main()
