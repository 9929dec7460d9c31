"""A signal ends a run in an orderly way: nothing is lost, nothing goes on, and it is said."""

from __future__ import annotations

import contextlib
import os
import runpy
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from src.shell import stopping
from src.shell.program import one_sentence_errors
from src.shell.stopping import (
    Stopped,
    end,
    how_to_resume,
    note,
    raise_if_asked,
    stop_wins,
    take_over,
)
from tests.forked import Forked
from tests.helpers import ROOT, SHALLOW, one_process, run

TRAIN = (
    "debug=smoke trainer.max_epochs=3 callbacks.throughput=null callbacks.token_maps=null "
    "callbacks.recent.minutes=null callbacks.recent.steps=1 datamodule.num_workers=1 "
    f"callbacks.complexity=null {' '.join(SHALLOW)}"
)


@pytest.fixture
def handled() -> Iterator[None]:
    with stopping.ended_by_signals():
        yield


def wait_for(condition: Callable[[], bool], process: Forked) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_ctrl_c_in_a_training_saves_and_the_rest_is_as_if_it_had_not_been(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "par ts"
    recent = parts / "checkpoints" / "recent.ckpt"
    process = Forked(["train.py", *TRAIN.split(), f'hydra.run.dir="{parts}"'])
    wait_for(recent.is_file, process)
    os.killpg(process.pid, signal.SIGINT)  # the loader processes get it too, as from a terminal
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert f"Stopped by Ctrl-C. Go on: the same command with {how_to_resume(parts)}" in told

    for words in (shlex.split(how_to_resume(parts)), [f"hydra.run.dir={whole}"]):
        with one_process(ROOT):
            assert run(["train.py", *TRAIN.split(), "callbacks.progress=null", *words]) == 0
    wanted, found = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        for folder in (whole, parts)
    )
    assert wanted["global_step"] == found["global_step"]
    for key, value in wanted["state_dict"].items():
        assert torch.equal(value, found["state_dict"][key]), key


def test_the_process_ends_with_one_sentence(capsys):
    with pytest.raises(SystemExit) as left, one_sentence_errors():
        os.kill(os.getpid(), signal.SIGHUP)
    assert left.value.code == 129
    assert capsys.readouterr().err == "Stopped by SIGHUP.\n"


def interrupted_in_a_bar() -> None:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        raise RuntimeError("cannot join thread before it is started")  # rich's


@pytest.mark.usefixtures("handled")
def test_what_comes_of_an_interrupt_does_not_hide_it():
    with pytest.raises(Stopped) as stop, stop_wins():
        interrupted_in_a_bar()
    assert stop.value.code == 143
    with pytest.raises(Stopped), stop_wins():
        pytest.fail("another cell has begun")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_cell_of_a_sweep_starts_after_a_signal(tmp_path, monkeypatch, capfd):
    measured = []

    def compare_speed(*_: object) -> None:
        measured.append(1)
        interrupted_in_a_bar()

    monkeypatch.setattr("src.runs.cost.compare_speed", compare_speed)
    monkeypatch.chdir(ROOT)
    GlobalHydra.instance().clear()
    small = "trainer=cpu datamodule.val_images=4 datamodule.batch_size=2 callbacks.progress=null"
    words = ["-m", "method=evit,tome", *small.split(), f"hydra.sweep.dir={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["eval.py", *words])
    with pytest.raises(SystemExit) as left:
        runpy.run_path("eval.py", run_name="__main__")
    assert left.value.code == 143
    assert measured == [1]
    assert "Stopped by SIGTERM. Go on: the same command again\n" in capfd.readouterr().err
    assert not list(tmp_path.rglob("failure.txt"))


def swallow() -> None:
    with contextlib.suppress(BaseException):
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("handled")
def test_a_signal_that_is_swallowed_still_ends_the_sweep():
    with pytest.raises(Stopped) as stop, stop_wins():
        swallow()
    assert stop.value.code == 130


@pytest.mark.usefixtures("handled")
def test_a_fault_without_a_signal_stays_what_it_is():
    with pytest.raises(ZeroDivisionError), stop_wins():
        raise ZeroDivisionError


@pytest.mark.usefixtures("handled")
def test_a_second_ctrl_c_ends_at_once_and_an_echo_does_not(monkeypatch):
    now = 10.0
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now)
    take_over(note)
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    now = 15.0
    os.kill(os.getpid(), signal.SIGTERM)  # still saving
    now = 20.0
    with pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Stopped) as stop:
        raise_if_asked()
    assert stop.value.number == signal.SIGINT


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.ended_by_signals():
            take_over(end)
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("name", ["plain/a-b", "with space", "a,b=c", 'a"b', "a'b", "ü{x}"])
def test_the_folder_survives_shell_and_hydra(name):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    resume, folder = shlex.split(how_to_resume(Path(name)))
    assert resume == "ckpt_path=last"
    (override,) = OverridesParser.create().parse_overrides([folder])
    assert override.value() == name
