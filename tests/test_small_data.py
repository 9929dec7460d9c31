"""Each task names the small data that `debug=smoke` takes; the command line wins."""

from pathlib import Path

import pytest

from src.config import CONF, compose_config

OUTSIDE = Path(__file__).parent / "extension" / "conf"
TASKS = sorted(path.stem for path in (CONF / "task").glob("*.yaml"))


def data_of(*words: str) -> dict[str, object]:
    data: dict[str, object] = compose_config([*words, "debug=smoke"], ["datamodule"])["datamodule"]
    return data


@pytest.mark.parametrize("task", TASKS)
def test_a_task_of_the_package(task: str) -> None:
    words = (f"task={task}", "backbone=swin_micro")
    assert data_of(*words)["train_images"] == 8
    assert "train_images" not in data_of(*words, "datamodule=imagenet")


def test_a_task_from_outside() -> None:
    data = data_of("task=brightness", "backbone=vit_micro", f"hydra.searchpath=[file://{OUTSIDE}]")
    assert str(data["_target_"]).endswith("GrayImages")
