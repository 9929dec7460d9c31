"""A folder has one training at a time, and is free again however that one ends."""

import logging
import multiprocessing
import os
import re
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock

from src.errors import InputError
from src.runs.lock import only_training_in
from tests.test_bad_inputs import ROOT, SMALL, one_process, run, sentence_in

pytestmark = pytest.mark.slow


def hold(folder: Path, held) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    with only_training_in(folder):
        held.send(True)
        time.sleep(600)


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder."""
    context = multiprocessing.get_context("fork")  # which imports nothing anew
    told, held = context.Pipe(duplex=False)
    process = context.Process(target=hold, args=(tmp_path, held), daemon=True)
    process.start()
    assert told.poll(60)
    yield process
    process.kill()
    process.join()


def test_a_second_training_is_refused_in_one_sentence(holder, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("src.runs.training.only_training_in", partial(only_training_in, patience=0))
    with one_process(tmp_path):
        assert run([ROOT / "train.py", *SMALL.split(), f"hydra.run.dir={tmp_path}"]) == 2
    sentence = sentence_in(capfd.readouterr().err)
    assert f"Another training is writing to {tmp_path}" in sentence
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_folder_is_free_when_its_training_died(holder, tmp_path, how):
    with pytest.raises(InputError), only_training_in(tmp_path, patience=0):
        pytest.fail("two trainings in one folder")
    os.kill(holder.pid, how)
    with only_training_in(tmp_path, patience=20):
        pass
    with only_training_in(tmp_path, patience=0):
        pass


def test_without_locks_it_is_only_said(tmp_path, monkeypatch, caplog):
    def refuse(self, timeout):
        raise NotImplementedError("no locks here")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with caplog.at_level(logging.WARNING), only_training_in(tmp_path):
        pass
    assert f"{tmp_path} cannot be kept from other trainings (no locks here)." in caplog.text


def test_trainings_begun_within_a_second_have_their_own_folders(tmp_path, capfd):
    with one_process(tmp_path):
        shown = ["--cfg", "hydra", "-p", "hydra.run", "--resolve"]
        assert run([ROOT / "train.py", *shown]) == 0
    printed = capfd.readouterr().out
    assert re.search(r"dir: logs/train/[-\d]{10}_\d\d-\d\d-\d\d-\d{6}\n", printed)
