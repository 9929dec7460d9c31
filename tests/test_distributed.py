"""Several processes, on CPU."""

import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest
import torch

from src.datamodules.resumable import EpochSampler, ShareSampler
from src.runs.folders import name_run
from tests.forked import Forked
from tests.helpers import ROOT

pytestmark = pytest.mark.slow

# Eight steps of two processes on the smallest network.
COMMAND = (
    "debug=smoke",
    "backbone=vit_micro",
    "trainer.devices=2",
    "+trainer.strategy=ddp",
    "trainer.limit_train_batches=1.0",
    "datamodule.train_images=32",
    "callbacks.recent.minutes=null",
    "callbacks.recent.steps=1",
    "callbacks.progress=null",
    "callbacks.throughput=null",
    "callbacks.complexity=null",
    "callbacks.token_maps=null",
)


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """What one process and two make of the same batch and the same images, and what two print."""
    folder = tmp_path_factory.mktemp("processes")
    command = [sys.executable, "tests/processes_agree.py", str(folder)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return [torch.load(folder / f"{number}.pt") for number in (1, 2)], ended.stdout


def test_a_thawed_backbone_is_synchronized(processes):
    for rank in (0, 1):
        assert f"rank {rank} moved True equal True" in processes[1]


def test_gradients_are_those_of_one_process(processes):
    one, two = (seen["gradients"] for seen in processes[0])
    assert one.keys() == two.keys()
    for name, gradient in one.items():
        assert (gradient - two[name]).abs().max() <= 1e-5 * gradient.abs().max(), name


def test_metrics_are_those_of_one_process(processes):
    one, two = (seen["logged"] for seen in processes[0])
    assert one.keys() == two.keys()
    for name in ("val/acc1", "val/acc5"):
        assert one[name] == two[name]
    shares = [name for name in one if name.startswith("keep/") and "target" not in name]
    assert len({one[name] for name in shares}) == len(shares) == 3  # images keep what they like
    for name, value in one.items():
        assert two[name] == pytest.approx(value, rel=1e-5), name


def start(folder: Path, *arguments: str) -> Forked:
    """The first process is a fork of this one; Lightning starts the second from the beginning."""
    return Forked(["train.py", *COMMAND, f"hydra.run.dir={folder}", *arguments])


def wait_for_a_save(folder: Path, process: Forked) -> None:
    end = time.monotonic() + 200
    while not (folder / "checkpoints" / "recent.ckpt").is_file():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def children(process: Forked) -> list[int]:
    pids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in pids if b"train.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_two_processes_stop_together_and_go_on_exactly(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    process = start(whole)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 0, told

    process = start(parts)
    wait_for_a_save(parts, process)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, told
    assert told.count("Stopped by SIGTERM") == 1
    process = start(parts, "ckpt_path=last")
    _, told = process.communicate(timeout=300)
    assert process.returncode == 0, told

    wanted, found = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        for folder in (whole, parts)
    )
    assert wanted["global_step"] == found["global_step"] == 16
    for key, value in wanted["state_dict"].items():
        assert torch.equal(value, found["state_dict"][key]), key
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "whole"]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the child process in /proc")
def test_a_process_that_is_killed_ends_the_other_with_a_sentence(tmp_path):
    process = start(tmp_path, "trainer.max_epochs=200")
    wait_for_a_save(tmp_path, process)
    (child,) = children(process)
    os.kill(child, signal.SIGKILL)
    _, told = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in told
    assert "error: Another process of this run has ended" in told


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"TORCHELASTIC_RUN_ID": "a/b"}, "torchrun-a-b"),
        ({"TORCHELASTIC_RUN_ID": "none"}, f"torchrun-{os.getppid()}"),
        (
            {"SLURM_NTASKS": "8", "SLURM_JOB_ID": "12", "SLURM_STEP_ID": "0", "SLURM_PROCID": "3"},
            "slurm-12.0",
        ),
        ({"SLURM_NTASKS": "1", "SLURM_JOB_ID": "12", "SLURM_STEP_ID": "0"}, None),
        ({}, None),
    ],
)
def test_all_processes_of_a_launch_have_one_folder(environment, name, monkeypatch):
    monkeypatch.setattr(os, "environ", dict(environment))
    before = date.today()
    name_run()
    dated = name is not None and name.startswith("torchrun")
    names = {f"{day}_{name}" for day in (before, date.today())} if dated else {name}
    assert os.environ.get("TOKENTHRIFT_RUN") in names


def test_every_image_is_one_process_s():
    shares = [list(ShareSampler(range(11), rank, 3)) for rank in range(3)]
    assert sorted(i for share in shares for i in share) == list(range(11))


def test_repeated_augmentation_spreads_draws_over_processes():
    samplers = [EpochSampler(range(12), r, 2, seed=1, shuffle=True, repeats=3) for r in range(2)]
    for epoch in range(2):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        drawn = [list(sampler) for sampler in samplers]
        assert [len(own) for own in drawn] == [6, 6]
        both = [index for own in drawn for index in own]
        assert len(set(both)) == 12  # no draw twice
        images = [index % 12 for index in both]
        assert sorted(images.count(image) for image in set(images)) == [3, 3, 3, 3]
        assert all({i % 12 for i in own} == set(images) for own in drawn)
        assert min(both) >= 12 * 3 * epoch
