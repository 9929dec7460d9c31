"""Every kind of weights file, and what is wrong with some."""

import argparse
import os
import re

import pytest
import timm
import torch
from safetensors.torch import save_file

from src.errors import InputError
from src.modules import create_student, load_weights

PREDICTORS = re.compile(r"^method\.selector\.predictors\.")


@pytest.fixture
def student():
    return create_student("vit_micro", method="dynamicvit")


def released_names(student):
    return {
        PREDICTORS.sub("score_predictor.", key).removeprefix("backbone."): value
        for key, value in student.state_dict().items()
    }


def other_weights():
    return create_student("vit_micro", method="dynamicvit").state_dict()


def assert_same(student, weights):
    for key, value in student.state_dict().items():
        assert torch.equal(value, weights[key]), key


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
@pytest.mark.parametrize("ddp", [False, True])
def test_released_dynamicvit(student, tmp_path, wrapper, ddp):
    source = create_student("vit_micro", method="dynamicvit")
    weights = released_names(source)
    if ddp:
        weights = {f"module.{key}": value for key, value in weights.items()}
    content = {wrapper: weights, "args": argparse.Namespace(lr=1)} if wrapper else weights
    torch.save(content, tmp_path / "released.pth")
    story = str(load_weights(student, tmp_path / "released.pth"))
    assert "backbone and method" in story
    assert_same(student, source.state_dict())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_dense_weights_leave_the_predictors_new(student, tmp_path, suffix):
    before = {k: v.clone() for k, v in student.method.state_dict().items()}
    dense = timm.create_model("vit_micro_patch8_80").state_dict()
    file = tmp_path / f"dense{suffix}"
    if suffix == ".pth":
        torch.save({"model": dense}, file)
    else:
        save_file(dense, file)
    story = str(load_weights(student, file))
    assert "30 method tensors stay new" in story
    for key, value in student.backbone.state_dict().items():
        assert torch.equal(value, dense[key])
    for key, value in student.method.state_dict().items():
        assert torch.equal(value, before[key])


def test_half_precision_weights_are_widened(student, tmp_path):
    half = {k: v.half() for k, v in released_names(student).items()}
    save_file(half, tmp_path / "half.safetensors")
    load_weights(student, tmp_path / "half.safetensors")
    assert {p.dtype for p in student.parameters()} == {torch.float32}


def test_keys_that_do_not_fit_are_named(student, tmp_path):
    weights = released_names(student)
    del weights["norm.weight"]
    weights["extra.weight"] = torch.zeros(1)
    weights["head.weight"] = torch.zeros(7, 96)
    torch.save(weights, tmp_path / "bad.pth")
    with pytest.raises(InputError) as error:
        load_weights(student, tmp_path / "bad.pth")
    sentence = str(error.value)
    assert "missing backbone.norm.weight" in sentence
    assert "unexpected backbone.extra.weight" in sentence
    assert "backbone.head.weight is (7, 96) instead of (10, 96)" in sentence


def test_the_weights_of_another_method_name_their_own(student, tmp_path):
    torch.save(released_names(student), tmp_path / "released.pth")
    with pytest.raises(InputError, match=r"missing method\.selector\.queries; .*method=dynamicvit"):
        load_weights(create_student("vit_micro", method="query_absorb"), tmp_path / "released.pth")


def test_nothing_is_loaded_from_a_file_that_does_not_fit(student, tmp_path):
    before = {k: v.clone() for k, v in student.state_dict().items()}
    weights = released_names(create_student("vit_micro", method="dynamicvit"))
    del weights["norm.weight"]
    torch.save(weights, tmp_path / "bad.pth")
    with pytest.raises(InputError):
        load_weights(student, tmp_path / "bad.pth")
    assert_same(student, before)


class Malicious:
    def __reduce__(self):
        return os.mkdir, (os.environ["MARKER"],)


def test_pickled_code_does_not_run(student, tmp_path, monkeypatch):
    marker = tmp_path / "ran"
    monkeypatch.setenv("MARKER", str(marker))
    for protocol in (2, 4):
        file = tmp_path / f"evil{protocol}.pth"
        torch.save({"model": Malicious()}, file, pickle_protocol=protocol)
        with pytest.raises(InputError, match="would run code"):
            load_weights(student, file)
    assert not marker.exists()


def test_a_truncated_file_is_named(student, tmp_path):
    for name, save in (("a.pth", torch.save), ("a.safetensors", save_file)):
        file = tmp_path / name
        save(released_names(student), file)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(InputError, match="is not a whole weights file"):
            load_weights(student, file)


def test_a_file_of_onnx_is_told_who_takes_it(student, tmp_path):
    file = tmp_path / "student.onnx"
    file.write_bytes(b"\x08\x0a\x12\x07pytorch\x1a\x05")
    with pytest.raises(InputError, match=r"ONNX, which only predict\.py takes: give a \.ckpt, "):
        load_weights(student, file)


def test_another_number_of_classes_gets_a_new_head(tmp_path):
    from src.config import compose_config
    from src.modules.student import build_student

    save_file(timm.create_model("vit_micro_patch8_80").state_dict(), tmp_path / "w.safetensors")
    config = compose_config([], ["backbone", "method", "schedule"])
    config["backbone"]["weights"] = str(tmp_path / "w.safetensors")
    assert build_student(**config, num_classes=3).backbone.head.out_features == 3
    assert build_student(**config, num_classes=10).backbone.head.out_features == 10


def swin_names(weights):
    """As Microsoft's checkpoints: a stage ends with its downsampling, buffers are stored."""
    named = {
        re.sub(
            r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", key
        ).replace("head.fc.", "head."): value
        for key, value in weights.items()
    }
    buffers = {
        "layers.0.blocks.0.attn.relative_position_index": torch.zeros(25, 25, dtype=torch.long),
        "layers.0.blocks.1.attn_mask": torch.zeros(16, 25, 25),
    }
    return named | buffers


def convnext_names(weights):
    """As Facebook's checkpoints."""
    pairs = (
        (r"^stem\.", "downsample_layers.0."),
        (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"\.blocks\.", "."),
        (r"conv_dw", "dwconv"),
        (r"mlp\.fc", "pwconv"),
        (r"^head\.norm\.", "norm."),
        (r"^head\.fc\.", "head."),
    )
    named = {}
    for key, value in weights.items():
        for pattern, name in pairs:
            key = re.sub(pattern, name, key)
        named[key] = value
    return named


def same_names(weights):
    """As LV-ViT's authors', whose names our network has; without batch norm's counters."""
    return {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}


AUTHORS = {
    "swin_micro": (swin_names, "layers.0.downsample.norm.weight"),
    "convnext_t": (convnext_names, "downsample_layers.2.1.weight"),
    "lvvit_s": (same_names, "patch_embed.bn3.running_var"),
}


@pytest.mark.slow
@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
@pytest.mark.parametrize("name", AUTHORS)
def test_dense_originals_in_their_authors_format(name, wrapper, tmp_path):
    rename, expected = AUTHORS[name]
    source, student = create_student(name), create_student(name)
    weights = rename(source.backbone.state_dict())
    assert expected in weights
    torch.save({wrapper: weights} if wrapper else weights, tmp_path / "dense.pth")
    before = {k: v.clone() for k, v in student.method.state_dict().items()}
    assert not load_weights(student, tmp_path / "dense.pth").method
    for key, value in source.backbone.state_dict().items():
        assert torch.equal(student.backbone.state_dict()[key], value), key
    for key, value in student.method.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.slow
@pytest.mark.parametrize("name", AUTHORS)
def test_dense_originals_in_timms_format(name, tmp_path):
    source, student = create_student(name), create_student(name)
    save_file(source.backbone.state_dict(), tmp_path / "dense.safetensors")
    load_weights(student, tmp_path / "dense.safetensors")
    for key, value in source.backbone.state_dict().items():
        assert torch.equal(student.backbone.state_dict()[key], value), key


def test_routed_blocks_must_be_the_same(tmp_path):
    source = create_student("convnext_micro", locations=[1, 2, 3])
    torch.save(source.state_dict(), tmp_path / "ours.pth")
    load_weights(create_student("convnext_micro", locations=[1, 3, 4]), tmp_path / "ours.pth")
    with pytest.raises(InputError, match=r"unexpected method\.fast_paths\.1\."):
        load_weights(create_student("convnext_micro", locations=[2, 3, 4]), tmp_path / "ours.pth")
