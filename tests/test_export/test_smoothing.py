"""Inputs that are shifted and scaled, and patches as a product: same in float, less noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from src.export import calibrated as module
from src.export.calibrated import Calibrated
from src.export.graph import export, load
from src.export.smoothing import middle_and_scale
from tests.combinations import make_student, shaken

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.filterwarnings("ignore")

SCORER = ["student.method.selector"]


def photographs(count: int) -> Tensor:
    """Return images whose pixels are k / 255, normalized, black and white among them."""
    torch.manual_seed(1)
    pixels = torch.randint(0, 256, (count, 3, 64, 64)) / 255
    pixels[0, :, 0, 0], pixels[0, :, 0, 1] = 0.0, 1.0
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (pixels - mean[:, None, None]) / deviation[:, None, None]


def stretched(file: Path, method: str, by: float) -> Path:
    """Export three blocks whose norms stretch and move some channels, as trained ones do."""
    torch.manual_seed(0)
    student = shaken(make_student("vit", method, depth=3), by=0.05).eval()
    with torch.no_grad():
        for block in student.backbone.blocks:
            for norm in (block.norm1, block.norm2):
                norm.weight[:3] *= by
                norm.bias[3:6] += 20
    export(student, file, 64)
    return file


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stretched(tmp_path_factory.mktemp("smoothing") / "student.onnx", "query_absorb", 8)


def names(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_float_stays_the_same_and_patches_are_a_product(path: Path, tmp_path: Path) -> None:
    images, file = photographs(8), tmp_path / "float.onnx"
    calibrated = Calibrated(path, images, SCORER)
    calibrated.write(file, calibrated.layers)
    before, after = load(path)(images)[0], load(file)(images)[0]
    assert not torch.equal(before, after)
    torch.testing.assert_close(before, after, atol=1e-5 * float(before.abs().max()), rtol=0)
    assert names(path).count("Conv") == 1
    assert "Conv" not in names(file)
    unread = {weight.name for weight in onnx.load(file).graph.initializer}
    unread -= {name for node in onnx.load(file).graph.node for name in node.input}
    assert not unread


def test_pixels_are_held_exactly(path: Path) -> None:
    images = photographs(8)
    calibrated = Calibrated(path, images, SCORER)
    (patches,) = [node for node in calibrated._nodes if "conv" in node.name.lower()]
    low, high = calibrated._ranges[patches.input[0]]
    assert (low.min(), high.max()) == pytest.approx((0, 1), abs=1e-6)
    steps = calibrated._samples[patches.input[0]] * 255
    assert np.abs(steps - steps.round()).max() < 1e-3


def test_noise_falls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no ranking of tokens flips, which would add noise of its own."""
    images, path = photographs(24), stretched(tmp_path / "dense.onnx", "dense", 30)
    expected = load(path)(images)[0]

    def noise(file: str) -> float:
        Calibrated(path, images[:16]).write(tmp_path / file)
        return float((load(tmp_path / file)(images)[0] - expected).pow(2).mean())

    smoothed = noise("smoothed.onnx")
    monkeypatch.setattr(module, "smooth", lambda *_: None)
    monkeypatch.setattr(module, "patches_as_products", lambda *_: [])
    assert smoothed < 0.5 * noise("plain.onnx")


def test_a_shift_and_a_scale_bring_channels_to_one_range() -> None:
    low, high = np.float32([-1, 9, -30]), np.float32([1, 11, 10])
    matrix = np.ones((3, 2), dtype=np.float32)
    center, scale = middle_and_scale(low, high, matrix, shifts=True)
    assert center.tolist() == [0, 10, -10]
    reach = (high - center) / scale
    assert reach.max() / reach.min() == pytest.approx(20**0.2)
    assert not middle_and_scale(low, high, matrix, shifts=False)[0].any()
    # After GELU: zeros stay exact.
    assert not middle_and_scale(np.float32([-0.1] * 3), high + 30, matrix, shifts=True)[0].any()
