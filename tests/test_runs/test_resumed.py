"""Which checkpoint is resumed, whether it can be, and what it is told."""

import copy
import os

import pytest
import torch

from src.checkpoints.checkpoint import Checkpoint, newest_checkpoint
from src.errors import InputError
from src.modules import create_student
from src.runs.resuming import check_optimizer, check_resumable, differing_settings


@pytest.fixture(scope="module")
def student():
    return create_student("vit_micro")


@pytest.fixture(scope="module")
def training(student):
    """What Lightning writes, as far as it is looked at."""
    weights = {f"student.{key}": value for key, value in student.state_dict().items()}
    moments = {
        number: {"step": torch.tensor(3.0), "exp_avg": torch.zeros_like(value)}
        for number, value in enumerate(weights.values())
    }
    return {
        "pytorch-lightning_version": "2.6",
        "epoch": 1,
        "global_step": 8,
        "state_dict": weights,
        "loops": {"fit_loop": {"epoch_progress": {"current": {"processed": 1}}}},
        "callbacks": {},
        "optimizer_states": [{"state": moments, "param_groups": []}],
        "lr_schedulers": [{"last_epoch": 8, "base_lrs": [1.0]}],
        "run": {"config": {"rho": 0.7, "datamodule": {"batch_size": 32, "root": "/a"}}},
    }


def changed(training, *keys, value):
    content = copy.deepcopy(training)
    node = content
    for key in keys[:-1]:
        node = node[key]
    if value is None:
        del node[keys[-1]]
    else:
        node[keys[-1]] = value
    return content


def test_the_checkpoint_with_most_steps_is_resumed_whatever_its_time(training, tmp_path, caplog):
    for name, step, time in (("last", 8, 10), ("best", 4, 20), ("recent", 8, 5)):
        path = tmp_path / f"{name}.ckpt"
        torch.save(changed(training, "global_step", value=step), path)
        os.utime(path, (time, time))
    assert newest_checkpoint(tmp_path).path == tmp_path / "last.ckpt"
    assert not caplog.messages
    (tmp_path / "dangling.ckpt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.ckpt").mkdir()
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    assert newest_checkpoint(tmp_path).path == tmp_path / "last.ckpt"
    assert len(caplog.messages) == 3
    assert all(message.endswith(".") and ". " not in message for message in caplog.messages)


def test_a_whole_training_goes_on(student, training, tmp_path):
    torch.save(training, tmp_path / "last.ckpt")
    check_resumable(student, Checkpoint.read(tmp_path / "last.ckpt"), 5)
    assert (
        differing_settings(Checkpoint.read(tmp_path / "last.ckpt"), training["run"]["config"]) == []
    )


NAN = torch.full((1, 1, 96), torch.nan)
STATE = ("optimizer_states", 0, "state", 0)
FAULTS = {
    "moments not finite": ((*STATE, "exp_avg"), NAN, "exp_avg of parameter 0 that is not finite"),
    "a step not finite": ((*STATE, "step"), torch.tensor(torch.inf), "step of parameter 0"),
    "moments of another shape": ((*STATE, "exp_avg"), torch.ones(3), "parameter 0 in the shapes"),
    "no version": (("pytorch-lightning_version",), None, "no pytorch-lightning_version"),
    "no schedules": (("lr_schedulers",), None, "no lr_schedulers"),
    "an empty schedule": (("lr_schedulers",), [{}], "without last_epoch"),
    "no parameter groups": (("optimizer_states", 0, "param_groups"), None, "param_groups"),
    "no optimizer": (("optimizer_states",), [3], "optimizer without"),
    "steps below 0": (("global_step",), -1, "global_step"),
    "endless epochs": (
        ("loops", "fit_loop", "epoch_progress", "current", "processed"),
        float("inf"),
        "how many epochs",
    ),
    "half an epoch": (("epoch",), 0.5, "epoch"),
    "an object": (("hyper_parameters",), {"path": __import__("pathlib").Path("x")}, "hyper_par"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_state_that_no_training_can_go_on_from(name, student, training, tmp_path):
    keys, value, fragment = FAULTS[name]
    torch.save(changed(training, *keys, value=value), tmp_path / "last.ckpt")
    with pytest.raises(InputError) as refused:
        check_resumable(student, Checkpoint.read(tmp_path / "last.ckpt"), 5)
    assert fragment in str(refused.value)
    assert ". " not in str(refused.value)


def test_other_settings_are_named_with_both_values(training, tmp_path):
    torch.save(training, tmp_path / "last.ckpt")
    now = {
        "rho": 0.5,
        "datamodule": {"batch_size": 64, "root": "/a", "hflip": None},
        "trainer": {"max_epochs": 9},
        "paths": {"run": "elsewhere"},
        "callbacks": {"progress": None},
    }
    assert differing_settings(Checkpoint.read(tmp_path / "last.ckpt"), now) == [
        "rho was 0.7 and is 0.5",
        "datamodule.batch_size was 32 and is 64",
        "datamodule.hflip was not set and is null",
    ]


def test_the_state_of_another_optimizer_is_refused(training, tmp_path):
    config = {"optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.1}}
    torch.save(changed(training, "run", value={"config": config}), tmp_path / "a.ckpt")
    checkpoint = Checkpoint.read(tmp_path / "a.ckpt")
    check_optimizer(checkpoint, {"optimizer": config["optimizer"] | {"lr": 0.2}})
    with pytest.raises(InputError, match=r"trained by torch\.optim\.AdamW, whose .*SGD cannot"):
        check_optimizer(checkpoint, {"optimizer": {"_target_": "torch.optim.SGD"}})
    torch.save(changed(training, "run", value=None), tmp_path / "b.ckpt")
    check_optimizer(Checkpoint.read(tmp_path / "b.ckpt"), config)


@pytest.mark.parametrize("steps", [0, -1.0, float("nan"), float("inf"), "many", None])
def test_a_schedule_with_a_wrong_length_of_an_epoch_is_refused(steps, training, student, tmp_path):
    state = [{"last_epoch": 8, "base_lrs": [1.0], "steps_per_epoch": steps}]
    torch.save(changed(training, "lr_schedulers", value=state), tmp_path / "a.ckpt")
    with pytest.raises(InputError, match="steps_per_epoch"):
        check_resumable(student, Checkpoint.read(tmp_path / "a.ckpt"), 5)
