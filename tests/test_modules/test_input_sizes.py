"""A student that is asked for an image size has it everywhere, in its file too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from src import create_student, load, load_weights
from src.config import option
from src.datamodules.preprocessing import Preprocessing
from src.errors import InputError
from src.modules import sparsify
from src.modules.backbones import SparseBackbone
from src.modules.networks.create import build_network

SIZES = [(64, (64, 64)), ((64, 96), (64, 96)), ([64, 96], (64, 96))]


def check_size(student: SparseBackbone, size: tuple[int, int]) -> None:
    assert student.image_size == size
    assert student.preprocessing.size == size
    assert student.gmacs() == student.gmacs(size)
    assert f"at {size[1]}x{size[0]} px" in repr(student)
    image = student.preprocessing.transform()(Image.new("RGB", (120, 130)))
    assert image.shape == (3, *size)
    assert student.predict(image[None]).shape == (1, student.num_classes)


@pytest.mark.parametrize(("asked", "size"), SIZES)
@pytest.mark.parametrize("name", ["convnext_micro", "vit_micro"])
def test_the_size_that_is_asked_for_is_the_size_everywhere(name, asked, size, tmp_path):
    student = create_student(name, image_size=asked, num_classes=4)
    check_size(student, size)
    check_size(student.dense_copy(), size)
    student.save(tmp_path / "a.safetensors")
    again = load(tmp_path / "a.safetensors")
    check_size(again, size)
    again.save(tmp_path / "b.safetensors")
    check_size(load(tmp_path / "b.safetensors"), size)


def test_without_one_it_is_that_of_the_yaml():
    assert create_student("convnext_micro").image_size == (96, 96)
    assert create_student("convnext_t").image_size == (224, 224)


def test_a_network_of_timm_with_its_own_size_keeps_it(tmp_path):
    options = {"depths": (1, 1, 2, 1), "dims": (8, 16, 32, 64)}
    size = {"input_size": (3, 64, 96)}
    network = timm.create_model(
        "convnext_tiny", num_classes=4, pretrained_cfg_overlay=size, **options
    )
    student = sparsify(network, locations=(1,), ratios=(0.5,)).eval()
    student.save(tmp_path / "a.safetensors", network_options=options)
    check_size(load(tmp_path / "a.safetensors"), (64, 96))


def test_other_networks_of_timm_keep_their_sizes():
    before = timm.get_pretrained_cfg("convnext_tiny.fb_in1k").to_dict()
    create_student("convnext_micro", image_size=64)
    assert timm.get_pretrained_cfg("convnext_tiny.fb_in1k").to_dict() == before
    assert before["input_size"] == (3, 224, 224)


def test_the_settings_of_a_run_reach_the_network():
    backbone = option("backbone", "convnext_micro")["backbone"] | {"image_size": 64}
    network = build_network(backbone, 4, pretrained=False)
    assert network.pretrained_cfg["input_size"] == (3, 64, 64)
    assert "img_size" not in network.made_with


@pytest.mark.parametrize("size", [(64,), (64, 64, 64), [], (None, 64), (64, None)])
@pytest.mark.parametrize("name", ["convnext_micro", "vit_micro"])
def test_a_size_is_one_side_or_two(name, size):
    with pytest.raises(InputError, match=r"^image_size=.*whole number") as refused:
        create_student(name, image_size=size)
    assert len(refused.value.sentences) == 1


@pytest.mark.parametrize("size", [64, [64], [0, 64], [64.5, 64], [64, 2**14 + 1], ["64", 64], {}])
def test_a_damaged_size_in_a_file_is_refused(size, tmp_path):
    path = saved(create_student("convnext_micro", image_size=64), tmp_path)
    with safe_open(path, "pt") as opened:
        header = dict(opened.metadata())
    network = json.loads(header["network"]) | {"image_size": size}
    other = tmp_path / "other.safetensors"
    save_file(load_file(path), other, header | {"network": json.dumps(network)})
    with pytest.raises(InputError, match=r"network\.image_size=.* is not height and width"):
        load(other)


def test_a_file_without_a_size_is_read_as_before(tmp_path):
    path = saved(create_student("convnext_micro", image_size=64), tmp_path)
    with safe_open(path, "pt") as opened:
        header = dict(opened.metadata())
    network = json.loads(header["network"])
    del network["image_size"]
    other = tmp_path / "other.safetensors"
    save_file(load_file(path), other, header | {"network": json.dumps(network)})
    assert load(other).image_size == (224, 224)


# Weights of another size --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "method"), [("vit_micro", "cropr"), ("convnext_micro", "asymmetric")]
)
def test_weights_of_another_size_bring_all_but_their_size(name, method, tmp_path):
    torch.manual_seed(0)
    student = create_student(name, method=method, image_size=80, num_classes=4)
    own = Preprocessing((80, 80), "bilinear", 0.5, "center", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    student.preprocessing = own
    path = saved(student, tmp_path)
    other = create_student(name, method=method, image_size=96, num_classes=4, weights=path)
    check_size(other, (96, 96))
    expected = own.as_dict() | {"size": (96, 96)}
    assert other.preprocessing.as_dict() == expected
    other.save(tmp_path / "other.safetensors")
    again = load(tmp_path / "other.safetensors")
    check_size(again, (96, 96))
    assert again.preprocessing == other.preprocessing
    load_weights(student, tmp_path / "other.safetensors")
    assert student.preprocessing == own


def saved(student: SparseBackbone, folder: Path) -> Path:
    student.save(folder / "saved.safetensors")
    return folder / "saved.safetensors"
