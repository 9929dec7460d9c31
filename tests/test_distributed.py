"""Several processes, on CPU."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
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
    "callbacks.token_maps=null",
)


def run_script(*arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_thawed_backbone_is_synchronized(tmp_path):
    output = run_script("tests/processes_freeze.py", str(tmp_path))
    for rank in (0, 1):
        assert f"rank {rank} moved True equal True" in output


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory):
    """What one process and two make of the same batch and the same 1,001 images."""
    folder = tmp_path_factory.mktemp("processes")
    for processes in ("1", "2"):
        run_script("tests/processes_agree.py", processes, str(folder))
    return [torch.load(folder / f"{processes}.pt") for processes in (1, 2)]


def test_gradients_are_those_of_one_process(one_and_two):
    one, two = (seen["gradients"] for seen in one_and_two)
    assert one.keys() == two.keys()
    for name, gradient in one.items():
        assert (gradient - two[name]).abs().max() <= 1e-5 * gradient.abs().max(), name


def test_metrics_are_those_of_one_process(one_and_two):
    one, two = (seen["logged"] for seen in one_and_two)
    assert one.keys() == two.keys()
    for name in ("val/acc1", "val/acc5"):
        assert one[name] == two[name]
    shares = [name for name in one if name.startswith("keep/") and "target" not in name]
    assert len({one[name] for name in shares}) == len(shares) == 3  # images keep what they like
    for name, value in one.items():
        assert two[name] == pytest.approx(value, rel=1e-5), name
