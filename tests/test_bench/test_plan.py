"""What is planned is what is measured."""

import pytest
import torch

from src.bench import plan
from src.bench.planned_step import PlannedStep
from src.errors import InputError
from src.measure.memory import peak_memory_mb

MICRO = ("backbone=vit_micro", "datamodule.batch_size=8")
SMALL = ("backbone=deit_t", "backbone.image_size=112", "datamodule.batch_size=8")


def measured(settings, *, dense):
    step = PlannedStep(settings, dense=dense, device=torch.device("cpu"))

    def call():
        step()
        step.drop_gradients()

    return peak_memory_mb(call, torch.device("cpu"))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [MICRO, SMALL], ids=["vit_micro", "deit_t"])
@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sparse"])
def test_memory_is_that_of_a_step(settings, dense):
    planned = plan.plan(settings, dense=dense).step / 1e6
    assert planned == pytest.approx(measured(settings, dense=dense), rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sparse"])
def test_convolutions_without_workspaces_hold_what_is_planned(dense):
    settings = ("backbone=convnext_micro", "datamodule.batch_size=4")
    with torch.backends.mkldnn.flags(enabled=False):  # oneDNN copies a convolution's tensors
        expected = measured(settings, dense=dense)
    assert plan.plan(settings, dense=dense).step / 1e6 == pytest.approx(expected, rel=0.1)


@pytest.mark.slow
def test_states_and_communication_follow_the_weights(capsys):
    planned = plan.plan(MICRO)
    step = PlannedStep(MICRO, dense=False, device=torch.device("meta"))
    trained = 4 * sum(p.numel() for p in step.parameters())
    assert planned.weights == planned.gradients == trained
    assert 2 * trained <= planned.optimizer < 2.01 * trained  # AdamW's two averages and its steps
    assert planned.all_reduced(2) == trained
    assert planned.gathered(2) == (3 * trained + planned.teacher) // 2
    assert planned.sharded(1) == planned.replicated(1) == planned.alone()
    assert planned.sharded(8) < planned.sharded(2) < planned.replicated(2)
    tokens = [block.tokens for block in planned.blocks]
    assert tokens == sorted(tokens, reverse=True)
    assert planned.blocks[-1].kept < 0.6 * planned.blocks[0].kept


@pytest.mark.slow
def test_a_table_of_devices_and_blocks_is_printed(capsys):
    plan.main([*MICRO, "--processes", "1", "4"])
    printed = capsys.readouterr().out
    assert "at most at once" in printed
    assert "sparse: blocks 0-1 see 101 tokens" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--processes", "0"], "--processes 0 is not a number of processes"),
        (["trainer.precision=64-true"], "trainer.precision=64-true cannot be planned"),
        (["task=detection"], "cannot be planned: choose task=classification"),
    ],
)
def test_what_cannot_be_planned_is_said(arguments, said):
    with pytest.raises(InputError, match=said):
        plan.main(arguments)
