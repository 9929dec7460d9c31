"""A signal ends a whole sweep, at whatever moment of a cell it comes, and the sweep can go on."""

from __future__ import annotations

import contextlib
import os
import pkgutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from src.modules.base import SparseModule
from src.reports.cells import read_rows
from src.runs import training
from tests.forked import Forked
from tests.helpers import ROOT, SHALLOW, one_process, run

SMALL = (
    "debug=smoke",
    *SHALLOW,
    "method=evit",
    "datamodule.train_images=8",
    "datamodule.val_images=4",
    "trainer.max_epochs=1",
    "trainer.num_sanity_val_steps=0",
    "throughput_batch=1",
    "callbacks.progress=null",
)
FEW = ("callbacks.complexity=null", "callbacks.token_maps=null")
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
# What runs when the signal comes.
MOMENTS = {
    "assembling": "src.runs.training.assemble",
    "a step": "src.modules.base.SparseModule.training_step",
    "a step's end": "src.callbacks.keep_ratio.KeepRatioLogger.on_train_batch_end",
    "a validation": "src.modules.base.SparseModule.validation_step",
    "timing after the training": "src.callbacks.throughput.compare_speed",
    "saving the student": "src.callbacks.saved_student.SavedStudent.on_fit_end",
    "timing for the report": "src.runs.cost.compare_speed",
    "maps for the report": "src.runs.evaluation.survivor_maps",
    "writing the row": "src.runs.cell._save",
    "between two cells": "hydra._internal.core_plugins.basic_launcher.run_job",
    "the report": "src.reports.pareto.write_report",
}
# Both signals and both ways at every moment; each pair of signal and way at every other one.
CASES = [
    (moment, number, swallowed ^ bool(place % 2))
    for place, moment in enumerate(MOMENTS)
    for number, swallowed in ((signal.SIGTERM, False), (signal.SIGINT, True))
]


def sweep(folder: Path, *words: str) -> int:
    with one_process(ROOT):
        return run(["train.py", "-m", *SMALL, f"hydra.sweep.dir={folder}", *words])


def send_within(name: str, number: int, swallowed: bool, patch: pytest.MonkeyPatch) -> None:
    """Have the first call of a function get a signal at its end, perhaps where it is lost."""
    place, attribute = name.rsplit(".", 1)
    owner = pkgutil.resolve_name(place)
    original = getattr(owner, attribute)
    sent: list[int] = []

    def call(*args: Any, **options: Any) -> Any:
        result = original(*args, **options)
        if not sent:
            sent.append(number)
            with contextlib.suppress(BaseException) if swallowed else contextlib.nullcontext():
                os.kill(os.getpid(), number)
        return result

    patch.setattr(owner, attribute, call)


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "number", "swallowed"), CASES)
def test_no_cell_starts_after_a_signal(moment, number, swallowed, tmp_path, monkeypatch, capfd):
    cells: list[Any] = []
    fit = training.fit
    monkeypatch.setattr(training, "fit", lambda config: cells.append(config) or fit(config))
    send_within(MOMENTS[moment], number, swallowed, monkeypatch)
    rhos = "rho=0.5" if moment == "the report" else "rho=0.5,0.7"
    assert sweep(tmp_path, rhos, *FEW) == CODES[number]
    assert len(cells) == 1
    error = capfd.readouterr().err
    assert "Traceback" not in error
    assert "hydra.run.dir" not in error
    assert not list(tmp_path.rglob("failure.txt"))


@pytest.mark.slow
def test_an_unfinished_cell_goes_on_with_the_same_command(tmp_path, monkeypatch, capfd):
    steps: list[int] = []
    step = SparseModule.training_step

    def training_step(self: SparseModule, *batch: Any) -> Any:
        steps.append(self.trainer.global_step)
        return step(self, *batch)

    monkeypatch.setattr(SparseModule, "training_step", training_step)
    with monkeypatch.context() as once:
        send_within(MOMENTS["a step's end"], signal.SIGTERM, False, once)
        assert sweep(tmp_path, "rho=0.5,0.7", *FEW) == 143
    assert steps in ([0], [0, 1])  # callbacks before the sender see the signal a step later
    assert "Stopped by SIGTERM. Go on: the same command again\n" in capfd.readouterr().err
    assert sweep(tmp_path, "rho=0.5,0.7", *FEW) == 0
    assert steps == [0, 1, 2, 3, 0, 1, 2, 3]
    assert len(read_rows(tmp_path)) == 2
    for folder in tmp_path.glob("rho=*"):
        rows = (folder / "csv" / "metrics.csv").read_text()
        assert rows.count("train_images_per_s") == 1


@pytest.mark.slow
def test_a_signal_from_outside_ends_a_sweep(tmp_path):
    words = ["train.py", "-m", "rho=0.5,0.7", *SMALL, *FEW, f"hydra.sweep.dir={tmp_path}"]
    process = Forked(words)
    end = time.monotonic() + 120
    while not list(tmp_path.glob("*/checkpoints/last.ckpt")):  # the validation is over
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    process.terminate()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143, error
    assert "Stopped by SIGTERM. Go on: the same command again\n" in error
    assert len(list(tmp_path.glob("rho=*"))) == 1
