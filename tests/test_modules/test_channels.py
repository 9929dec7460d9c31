"""Students of images with other than three channels describe how those are prepared."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

from src import load, load_weights
from src.datamodules.preprocessing import Preprocessing
from src.errors import InputError
from src.modules import sparsify
from src.modules.backbones import SparseBackbone

SHAPES = {
    "vit_tiny_patch16_224": {"embed_dim": 64, "num_heads": 4, "depth": 4, "img_size": 64},
    "convnext_tiny": {"depths": (1, 1, 4, 1), "dims": (8, 16, 32, 64)},
}


def make_student(name: str, channels: int) -> SparseBackbone:
    torch.manual_seed(0)
    network = timm.create_model(name, in_chans=channels, num_classes=5, **SHAPES[name])
    return sparsify(network, rho=0.5).eval()


def saved(student: SparseBackbone, name: str, channels: int, folder: Path) -> Path:
    path = folder / "saved.safetensors"
    student.save(path, network_options={"in_chans": channels, **SHAPES[name]})
    return path


def check_gray(student: SparseBackbone) -> None:
    ready = student.preprocessing
    assert (len(ready.mean), len(ready.std)) == (1, 1)
    image = Image.linear_gradient("L")
    prepared = ready.transform()(image)
    assert prepared.shape == (1, *student.image_size)
    assert torch.equal(ready.transform()(image.convert("RGB")), prepared)
    assert student.predict(prepared[None]).shape == (1, 5)


@pytest.mark.parametrize("name", SHAPES)
def test_one_channel_is_prepared_alone_and_after_loading_too(name, tmp_path):
    student = make_student(name, 1)
    check_gray(student)
    path = saved(student, name, 1, tmp_path)
    again = load(path)
    check_gray(again)
    assert again.preprocessing == student.preprocessing
    filled = make_student(name, 1)
    load_weights(filled, path)
    check_gray(filled)


def test_the_one_channel_has_the_mean_of_timms_three():
    ready = make_student("convnext_tiny", 1).preprocessing
    assert ready.mean == pytest.approx([(0.485 + 0.456 + 0.406) / 3])
    assert ready.std == pytest.approx([(0.229 + 0.224 + 0.225) / 3])
    ready = make_student("convnext_tiny", 3).preprocessing
    assert ready.mean == (0.485, 0.456, 0.406)


def test_three_channels_that_are_set_become_one():
    student = make_student("vit_tiny_patch16_224", 1)
    three = Preprocessing((64, 64), "bilinear", 1.0, "center", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    student.preprocessing = three
    assert student.preprocessing.mean == pytest.approx([0.2])
    check_gray(student)


@pytest.mark.parametrize("channels", [2, 4])
def test_other_numbers_of_channels_have_no_transform(channels, tmp_path):
    name = "vit_tiny_patch16_224"
    student = make_student(name, channels)
    again = load(saved(student, name, channels, tmp_path))
    for made in (student, again):
        assert made.preprocessing.mean == (0.5,) * channels
        with pytest.raises(InputError, match=f"^The network takes {channels} channels") as refused:
            made.preprocessing.transform()
        assert len(refused.value.sentences) == 1


@pytest.mark.parametrize(
    ("mean", "std"), [([], []), ([0.5], [0.5] * 3), ([0.5] * 3, [0.5]), ([0.5], [0.0])]
)
def test_mean_and_deviation_are_of_as_many_channels(mean, std):
    values = Preprocessing((64, 64), "bilinear", 1.0, "center", (0.5,), (0.5,)).as_dict()
    with pytest.raises(InputError, match=r"^file has (mean|std)="):
        Preprocessing.checked(values | {"mean": mean, "std": std}, "file")
