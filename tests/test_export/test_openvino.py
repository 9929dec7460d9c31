"""OpenVINO runs the files that `export.py` writes, in float and in 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.export.graph import export, load
from src.export.quantize import Calibrated
from tests.combinations import make_student, shaken

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def in_openvino(path: Path, images: Tensor) -> NDArray[np.float32]:
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    exact = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    network = core.compile_model(core.read_model(path), "CPU", exact)
    logits: NDArray[np.float32] = network(images.numpy())[0]
    return logits


@pytest.mark.parametrize("select", ["topk", "matmul"])
def test_the_same_logits(select: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    student = shaken(make_student("vit", "query_absorb", depth=3), by=0.05).eval()
    images = torch.randn(24, 3, 64, 64)
    path, small = tmp_path / "student.onnx", tmp_path / "student_int8.onnx"
    export(student, path, 64, select=select)
    wanted = load(path)(images)[0].numpy()
    found = in_openvino(path, images)
    assert np.abs(found - wanted).max() < 1e-4
    assert (found.argmax(1) == wanted.argmax(1)).all()
    Calibrated(path, images, ["student.method.selector"]).write(small)
    rounded = load(small)(images)[0].numpy()
    found = in_openvino(small, images)
    assert np.abs(found - rounded).max() < 0.1  # the logits' standard deviation is 0.4
    assert (found.argmax(1) == rounded.argmax(1)).mean() > 0.9
