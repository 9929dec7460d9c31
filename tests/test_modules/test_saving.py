"""A saved student is built again from its file alone, and hostile files are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from safetensors import safe_open

import src.modules.saving.write
from src import KeepSchedule, create_student, load, load_weights, sparsify
from src.config import CONF, instantiate, option
from src.datamodules.preprocessing import Preprocessing
from src.errors import InputError
from src.modules.backbones import SparseBackbone
from src.modules.heads.base import WholeNetwork
from src.modules.methods.tome import ToMe
from tests.combinations import CASES, NETWORKS, make_network, make_student, shaken, students_of

HEADS = sorted(path.stem for path in (CONF / "head").glob("*.yaml"))


def options_of(name: str) -> dict[str, object]:
    return {key: value for key, value in NETWORKS[name][1].items() if key != "num_classes"}


def saved(student: SparseBackbone | WholeNetwork, path: Path, name: str = "vit") -> Path:
    student.save(path, network_options=options_of(name))
    return path


def logits(student: SparseBackbone, images: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(1)  # for methods that draw at inference
    return student.predict(images)


@pytest.mark.parametrize(("name", "method"), CASES)
def test_the_loaded_student_computes_the_same_bit_for_bit(name, method, tmp_path):
    torch.manual_seed(0)
    student = shaken(make_student(name, method))
    again = load(saved(student, tmp_path / "student.safetensors", name))
    images = torch.randn(2, 3, 64, 64)
    assert isinstance(again, SparseBackbone)
    assert not again.training
    assert torch.equal(logits(student, images), logits(again, images))
    assert again.method.schedule == student.method.schedule
    assert again.rho == student.rho
    assert again.class_names is None
    assert again.preprocessing == student.preprocessing


@pytest.mark.parametrize("backbone", ["vit", "swin", "convnext"])
@pytest.mark.parametrize("head", HEADS)
def test_every_head_is_saved_with_its_student(head, backbone, tmp_path):
    torch.manual_seed(0)
    whole = with_head(head, backbone)
    whole.student.class_names = tuple("abcd")
    whole.save(tmp_path / "whole.safetensors")
    again = load(tmp_path / "whole.safetensors")
    assert isinstance(again, WholeNetwork)
    assert again.student.class_names == tuple("abcd")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        one, other = whole(images), again(images)
    assert all(map(torch.equal, one.backbone.maps, other.backbone.maps))
    if one.logits is not None:
        assert torch.equal(one.logits, other.logits)
    for found, same in zip(one.detections, other.detections, strict=True):
        assert found.keys() == same.keys()
        assert all(torch.equal(found[key], same[key]) for key in found)


def with_head(head: str, backbone: str) -> WholeNetwork:
    name, options = NETWORKS[backbone]
    settings = {"network": name, "options": {k: v for k, v in options.items() if k != "img_size"}}
    settings["options"].pop("num_classes")
    settings |= {"image_size": 64}
    plan = {"_target_": "src.modules.schedules.geometric", "rho": 0.5, "locations": [1, 2]}
    method = option("method", "evit" if backbone == "vit" else "asymmetric")
    from src.modules.student import build_student

    student = build_student(settings, method, plan, 0, any_size=True)
    made = option("head", head) | {"channels": 32}
    if "hidden" in made:
        made["hidden"] = 16
    built = instantiate(made, levels=student.levels(), num_classes=4)
    built.settings, built.num_classes = made, 4
    return WholeNetwork(shaken(student, 0.02), built).eval()
