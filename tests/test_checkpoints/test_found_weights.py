"""Weights under the names and wrappers of people's tools: the right values are taken."""

import datetime
import logging
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from omegaconf import OmegaConf
from timm.layers import resample_abs_pos_embed

from src.checkpoints.checkpoint import Checkpoint
from src.config import compose_config
from src.errors import InputError
from src.modules import create_student
from src.modules.student import build_student
from src.modules.weights import load_weights

NETWORK = "vit_micro_patch8_80"


@pytest.fixture(scope="module")
def raw():
    return timm.create_model(NETWORK, num_classes=7).state_dict()


@pytest.fixture(scope="module")
def average(raw):
    return {key: value + 1 for key, value in raw.items()}


def named(prefix, weights):
    return {prefix + key: value for key, value in weights.items()}


def loaded(content, folder, **options):
    torch.save(content, folder / "file.pth")
    student = create_student("vit_micro", num_classes=7, **options)
    return student.backbone.state_dict(), str(load_weights(student, folder / "file.pth"))


def assert_same(weights, wanted):
    for key, value in wanted.items():
        assert torch.equal(weights[key], value), key


PREFIXES = (
    "_orig_mod.",
    "module._orig_mod.",
    "_orig_mod.module.",
    "net.",
    "model.backbone.",
    "encoder.",
    "student.backbone.",
    "student._orig_mod.backbone.",
    "model.module.vit.",
)


# A key around the weights and a prefix of their names are found one after the other: each once.
@pytest.mark.parametrize(
    ("prefix", "outer"), zip(PREFIXES, cycle(["state_dict", "model", "net", None]), strict=False)
)
def test_names_within_others(prefix, outer, raw, tmp_path):
    weights = named(prefix, raw) | {"criterion.weight": torch.zeros(3)}
    taken, story = loaded({outer: weights, "epoch": 3} if outer else weights, tmp_path)
    assert_same(taken, raw)
    assert "1 other tensors are left out" in story
    assert Checkpoint.read(tmp_path / "file.pth").num_classes == 7


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("state_dict",), ("state_dict_ema",)),
        (("model",), ("model_ema",)),
        (("model",), ("ema", "state_dict")),
        (("module",), ("module_ema",)),
        (("teacher",), ("student",)),
    ],
)
def test_the_average_is_taken_and_said(first, second, raw, average, tmp_path):
    content = {}
    for keys, weights in ((first, raw), (second, average)):
        for key in reversed(keys):
            weights = {key: weights}
        content |= weights
    for order in (content, dict(reversed(content.items()))):
        taken, story = loaded(order, tmp_path)
        assert_same(taken, average)
        assert f"taken from {'.'.join(second)} there" in story
        assert f"{'.'.join(first)} is passed over" in story


@pytest.mark.parametrize(
    ("first", "second"), [("", "ema."), ("teacher.", "student."), ("model.", "model_ema.module.")]
)
def test_two_networks_among_the_same_names_are_not_mixed(first, second, raw, average, tmp_path):
    taken, story = loaded({"state_dict": named(first, raw) | named(second, average)}, tmp_path)
    assert_same(taken, average)
    assert "is passed over" in story


def test_an_average_of_little_is_not_a_network(raw, tmp_path):
    content = {"state_dict": raw, "state_dict_ema": {"head.weight": raw["head.weight"] + 1}}
    assert_same(loaded(content, tmp_path)[0], raw)


def test_weights_without_a_classifier(raw, tmp_path, caplog):
    body = {key: value for key, value in raw.items() if not key.startswith("head.")}
    taken, story = loaded(named("module.", body), tmp_path)
    assert_same(taken, body)
    assert "the head stays new" in story
    assert "has no classifier: the head is new." in caplog.text


@pytest.mark.parametrize("size", [64, 96])
def test_positions_are_resampled_as_timm_does(size, raw, tmp_path):
    taken, story = loaded({"model": raw}, tmp_path, image_size=size)
    side = size // 8
    wanted = resample_abs_pos_embed(raw["pos_embed"], [side, side], num_prefix_tokens=1)
    assert torch.equal(taken["pos_embed"], wanted)
    assert f"position embedding resampled from 10x10 to {side}x{side}" in story


def test_our_own_checkpoint_at_another_size(tmp_path):
    source = create_student("vit_micro")
    torch.save({"state_dict": named("student.", source.state_dict())}, tmp_path / "own.ckpt")
    student = create_student("vit_micro", image_size=96)
    load_weights(student, tmp_path / "own.ckpt")
    assert_same(student.method.state_dict(), source.method.state_dict())
    old = source.backbone.state_dict()["pos_embed"]
    wanted = resample_abs_pos_embed(old, [12, 12], num_prefix_tokens=1)
    assert torch.equal(student.backbone.state_dict()["pos_embed"], wanted)


def test_tables_of_relative_positions_are_resampled_as_timm_does(tmp_path):
    config = compose_config(["backbone=swin_micro"], ("backbone", "method", "schedule"))
    wide = config["backbone"] | {"weights": None, "image_size": 112}
    wide["options"] = {**(wide.get("options") or {}), "window_size": 7}
    source = build_student(wide, config["method"], config["schedule"], 10)
    torch.save(named("student.", source.state_dict()), tmp_path / "wide.pth")
    torch.save(source.backbone.state_dict(), tmp_path / "dense.pth")
    name = "layers.2.blocks.0.attn.relative_position_bias_table"
    for file in ("wide.pth", "dense.pth"):
        student = create_student("swin_micro", num_classes=10)
        story = str(load_weights(student, tmp_path / file))
        table = timm.layers.resize_rel_pos_bias_table(
            source.backbone.state_dict()[name],
            (5, 5),
            (81, source.backbone.state_dict()[name].shape[1]),
        )
        assert torch.equal(student.backbone.state_dict()[name], table)
        assert "tables of relative positions resampled" in story


HARMLESS = {
    "float": np.float64(81.2),
    "small float": np.float32(1),
    "integer": np.int64(3),
    "boolean": np.bool_(True),
    "array": np.arange(3.0),
    "texts": np.array(["a", "b"]),
    "path": Path("/x"),
    "date": datetime.datetime(2020, 1, 1),
    "settings": OmegaConf.create({"lr": 1, "steps": [1, 2], "of": "${lr}"}),
}


# Every two of a value, a protocol and a format of files occur together, not every three.
@pytest.mark.parametrize(
    ("name", "protocol", "old"),
    [
        (name, protocol, (number + protocol // 2) % 2 == 0)
        for number, name in enumerate(HARMLESS)
        for protocol in (2, 4)
    ],
)
def test_harmless_values_beside_the_weights(name, protocol, old, raw, tmp_path):
    content = {"before": HARMLESS[name], "model": raw, "after": [HARMLESS[name]] * 2}
    how = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": not old}
    torch.save(content, tmp_path / "file.pth", **how)
    student = create_student("vit_micro", num_classes=7)
    load_weights(student, tmp_path / "file.pth")
    assert_same(student.backbone.state_dict(), raw)


@pytest.mark.parametrize(
    "value",
    [
        torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged),
        torch.ones(96).to_sparse(),
        torch.quantize_per_tensor(torch.ones(96), 0.1, 0, torch.qint8),
        torch.ones(96, dtype=torch.complex64).conj(),
    ],
    ids=["nested", "jagged", "sparse", "quantized", "conjugated"],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_without_plain_values(value, raw, tmp_path):
    with pytest.raises(InputError, match=r"norm\.weight (in a form|conjugated)"):
        loaded({**raw, "norm.weight": value}, tmp_path)


@pytest.mark.parametrize(("value", "half"), [(1e300, False), (1e5, True)])
def test_weights_are_finite_in_the_students_own_type(value, half, raw, tmp_path):
    torch.save(
        {**raw, "norm.weight": torch.full((96,), value, dtype=torch.float64)}, tmp_path / "file.pth"
    )
    student = create_student("vit_micro", num_classes=7)
    student = student.half() if half else student
    with pytest.raises(InputError, match=r"not finite in backbone\.norm\.weight"):
        load_weights(student, tmp_path / "file.pth")


@pytest.mark.parametrize("outer", ["", "module.", "_orig_mod."])
def test_a_head_on_maps_is_that_beside_a_student(outer, raw, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    weights = named(f"{outer}student.backbone.", raw) | {f"{outer}head.conv.weight": torch.ones(2)}
    torch.save({"state_dict": weights}, tmp_path / "file.ckpt")
    head = Checkpoint.read(tmp_path / "file.ckpt").head
    assert list(head) == ["conv.weight"]
    torch.save({"state_dict": raw}, tmp_path / "dense.pth")
    assert Checkpoint.read(tmp_path / "dense.pth").head == {}
