"""A resumed training has its own optimizer settings, and the rates of the epoch that it is in."""

import pytest
import torch
from torch import nn

from src.modules.optim import build_lr_schedule, build_optimizer

OPTIONS = {
    "_target_": "torch.optim.AdamW",
    "lr": 1e-2,
    "min_lr": 0.0,
    "warmup_epochs": 0,
    "weight_decay": 0.1,
    "betas": [0.9, 0.99],
    "lr_schedule": {"_target_": "src.modules.optim.warmup_cosine", "_partial_": True},
}


def training(steps_per_epoch=10, epochs=4, lr=1e-2, decay=0.1, **options):
    parameter = nn.Parameter(torch.ones(2, 2))
    groups = [{"params": [parameter], "lr": lr, "weight_decay": decay, "name": "backbone/decay"}]
    settings = OPTIONS | options
    optimizer = build_optimizer(settings, groups)
    schedule = build_lr_schedule(
        optimizer, settings, groups, steps_per_epoch * epochs, steps_per_epoch
    )
    return optimizer, schedule


def stepped(optimizer, schedule, steps):
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.param_groups[0]["params"][0].grad = torch.ones(2, 2)
        optimizer.step()
        schedule.step()
    return rates


def resumed(after, **now):
    """Return what a training with the settings `now` does with the states of `after` steps."""
    optimizer, schedule = training()
    stepped(optimizer, schedule, after)
    states = optimizer.state_dict(), schedule.state_dict()
    optimizer, schedule = training(**now)
    optimizer.load_state_dict(states[0])
    schedule.load_state_dict(states[1])
    return optimizer, schedule


def test_the_same_settings_go_on_to_the_bit():
    whole = stepped(*training(), 40)
    assert stepped(*resumed(13), 27) == whole[13:]


def test_other_settings_are_those_that_train():
    optimizer, schedule = resumed(20, lr=3e-2, decay=0.5, betas=(0.5, 0.6))
    (group,) = optimizer.param_groups
    assert group["lr"] == pytest.approx(3e-2 / 2)  # half way down the cosine
    assert (group["weight_decay"], group["betas"]) == (0.5, (0.5, 0.6))
    assert optimizer.state[group["params"][0]]["step"] == 20
    assert stepped(optimizer, schedule, 20)[1:] == stepped(*training(lr=3e-2), 40)[21:]
    assert schedule.get_last_lr() == [optimizer.param_groups[0]["lr"]]


def test_another_number_of_steps_goes_on_at_the_same_epoch():
    rates = stepped(*resumed(20, steps_per_epoch=5), 10)
    assert rates == stepped(*training(steps_per_epoch=5), 20)[10:]
    assert rates[0] == pytest.approx(5e-3)


def test_a_state_without_the_steps_of_an_epoch_is_taken_as_it_is():
    optimizer, schedule = training()
    state = schedule.state_dict() | {"last_epoch": 20}
    del state["steps_per_epoch"]
    schedule.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(5e-3)


def test_what_an_optimizer_itself_notes_in_its_groups_is_restored():
    optimizer, schedule = training()
    optimizer.param_groups[0]["estimated"] = 7.0
    states = optimizer.state_dict(), schedule.state_dict()
    optimizer, schedule = training()
    optimizer.param_groups[0]["estimated"] = 0.0
    optimizer.load_state_dict(states[0])
    schedule.load_state_dict(states[1])
    assert optimizer.param_groups[0]["estimated"] == 7.0
