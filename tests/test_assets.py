"""The scripts that rebuild the demos' weights still run, and write what their networks load."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import timm
from safetensors.torch import load_file

from src.modules import create_student
from src.modules.weights import load_weights

ASSETS = Path(__file__).resolve().parents[1] / "assets"


def script(name: str, **constants: object) -> ModuleType:
    """Return a script of `assets` with other values of its `constants`."""
    found = importlib.util.spec_from_file_location(name, ASSETS / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    for constant, value in constants.items():
        assert hasattr(module, constant)
        setattr(module, constant, value)
    return module


@pytest.mark.parametrize("backbone", ["convnext_micro", "swin_micro"])
def test_the_third_stage_learns_where_digits_are(backbone, tmp_path):
    path = script("make_hierarchical", BATCH=2, STEPS=2, LOGS=tmp_path).train_map(backbone)
    load_weights(create_student(backbone, method="dense"), path)


def test_a_stem_learns_the_digits(tmp_path):
    start = tmp_path / "start.safetensors"
    made = script("make_teacher", BATCH=2, SCENES=4, START=start, RESULT=start)
    made.train_stem()
    made.enlarge()
    timm.create_model(made.NETWORK).load_state_dict(load_file(start))


def test_tubelets_learn_what_they_show():
    made = script("make_clips")
    student = create_student("video_micro", method="dense", num_classes=len(made.CLASSES))
    plan = made.compose_config(["task=video", "datamodule.seed=0"], ["datamodule"])["datamodule"]
    scenes = made.instantiate(plan).train_dataset()
    grid = student.backbone.patch_embed.grid_size
    clip, label, shown = made.sample(scenes, 0, grid)
    assert clip.shape == scenes[0][0].shape
    assert len(shown) == grid[0] * grid[1] * grid[2]
    assert set(shown.tolist()) == {label, made.GROUND}
