"""A few of the random configurations of `tests/stress`, and what its other trials conclude by."""

import random

import numpy as np
import pytest
import torch

from tests.stress.fuzz import Fault, check_finite, draw, outcome
from tests.stress.kill_loop import same
from tests.stress.soak import slope


@pytest.mark.slow
@pytest.mark.parametrize("number", range(6))
def test_a_random_configuration_ends_well_or_in_one_sentence(number):
    assert outcome(draw(random.Random(number))).endswith((".", "trained"))


def test_a_loss_that_is_not_finite_is_a_fault(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,train/loss,val/acc1\n0,1.5,\n1,,50.0\n")
    check_finite(path)
    path.write_text("step,train/loss,val/acc1\n0,1.5,\n1,nan,\n")
    with pytest.raises(Fault, match="train/loss"):
        check_finite(path)


def test_growth_is_seen():
    epochs = np.arange(100)
    noise = np.random.default_rng(0).normal(0, 0.5, 100)
    steady, growing = (slope(epochs, 500 + each * epochs + noise)[0] for each in (0, 0.1))
    assert abs(steady) < 0.02
    assert abs(growing - 0.1) < 0.02


def test_one_bit_makes_a_difference():
    state = {"a": [torch.ones(2)], "b": 1}
    assert same(state, {"a": [torch.ones(2)], "b": 1})
    assert not same(state, {"a": [torch.ones(2) + 2**-23], "b": 1})
    assert not same(state, {"a": [torch.ones(2)], "b": 2})
    assert not same(state, {"b": 1})
