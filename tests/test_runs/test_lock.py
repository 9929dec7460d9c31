"""A folder has one training at a time, and is free again however that one ends."""

import logging
import re
import signal
import subprocess
import sys
from functools import partial

import pytest
from filelock import FileLock

from src.errors import InputError
from src.runs.lock import only_training_in
from tests.test_bad_inputs import ROOT, SMALL, one_process, run, sentence_in

pytestmark = pytest.mark.slow

HOLD = (
    "import sys, time; from pathlib import Path; from src.runs.lock import only_training_in\n"
    "with only_training_in(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
)


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder."""
    command = [sys.executable, "-c", HOLD, tmp_path]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_training_is_refused_in_one_sentence(holder, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("src.runs.lock.only_training_in", partial(only_training_in, patience=0))
    with one_process(tmp_path):
        assert run([ROOT / "train.py", *SMALL.split(), f"hydra.run.dir={tmp_path}"]) == 2
    sentence = sentence_in(capfd.readouterr().err)
    assert f"Another training is writing to {tmp_path}" in sentence
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_folder_is_free_when_its_training_died(holder, tmp_path, how):
    with pytest.raises(InputError), only_training_in(tmp_path, patience=0):
        pytest.fail("two trainings in one folder")
    holder.send_signal(how)
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


def test_trainings_begun_within_a_second_have_their_own_folders(tmp_path):
    command = [sys.executable, ROOT / "train.py", "--cfg", "hydra", "-p", "hydra.run", "--resolve"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert re.search(r"dir: logs/train/[-\d]{10}_\d\d-\d\d-\d\d-\d{6}\n", result.stdout)
