"""Several processes that share the weights train as one does; on CPUs, over gloo."""

import subprocess
import sys

import pytest
import torch

from src import load
from tests.helpers import ROOT

pytestmark = pytest.mark.slow


def train(folder, processes, steps, *checkpoint):
    folder.mkdir()
    arguments = ["tests/sharded_agrees.py", str(processes), str(folder), str(steps), *checkpoint]
    result = subprocess.run(  # not `Forked`: after other tests in the process its start hangs
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    seen = torch.load(folder / "seen.pt")
    return seen, torch.load(folder / "step=10.ckpt", weights_only=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What one process and two make of the same ten steps."""
    folder = tmp_path_factory.mktemp("sharded")
    one = train(folder / "one", 1, 10)
    two = train(folder / "two", 2, 10)
    return folder, one, two


def agree(one, two):
    assert one["state_dict"].keys() == two["state_dict"].keys()
    for name, value in one["state_dict"].items():
        # A step of AdamW is as long for gradients near zero, whose rounding then shows.
        assert torch.allclose(value, two["state_dict"][name], rtol=1e-4, atol=5e-5), name


def test_losses_and_weights_are_those_of_one_process(trained):
    _, (one, ended_one), (two, ended_two) = trained
    assert len(one["losses"]) == 10
    assert one["losses"][-1] != pytest.approx(one["losses"][0], rel=0.01)  # it learns
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
    agree(ended_one, ended_two)
    assert two["held"] < 0.52 * one["held"]


def test_the_student_is_saved_complete(trained):
    folder, _, (_, ended) = trained
    student = load(folder / "two" / "student.safetensors")
    for name, value in student.state_dict().items():
        assert torch.equal(value, ended["state_dict"][f"student.{name}"]), name


def test_one_process_goes_on_with_what_two_have_saved(trained, tmp_path):
    folder, (_, whole), _ = trained
    _, ended = train(tmp_path / "second", 1, 10, folder / "two" / "step=5.ckpt")
    assert ended["global_step"] == 10
    agree(whole, ended)
