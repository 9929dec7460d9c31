"""Every family as the student computes it, and in 8 bits, calibrated, for any batch size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from src.export.agreement import agreement
from src.export.calibrated import Calibrated
from src.export.graph import Deployed, export, largest_difference, load
from tests.combinations import make_student, shaken

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

CASES = {
    "vit": "query_absorb",
    "lvvit": "dynamicvit",
    "swin": "asymmetric",
    "convnext": "asymmetric",
}


@pytest.mark.parametrize("rho", [0.5])
@pytest.mark.parametrize("family", CASES)
def test_a_static_file_for_any_batch(family: str, rho: float, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    student = shaken(make_student(family, CASES[family], depth=2), by=0.05).eval()
    student.rho = rho
    path, small = tmp_path / "student.onnx", tmp_path / "student_int8.onnx"
    export(student, path, 64)
    images = torch.randn(32, 3, 64, 64)
    scorers = [f"student.method.{name}" for name in student.method.scorers]
    calibrated = Calibrated(path, images, scorers)
    calibrated.write(small)
    rounded = [n for n in onnx.load(small).graph.node if n.op_type == "QuantizeLinear"]
    assert len(rounded) > len(calibrated.layers) / 2  # some layers share an input
    wanted, run = load(path)(images)[0], load(small)
    for batch in (1, 5):
        assert largest_difference(Deployed(student), load(path), 64, batch) < 1e-4
    agreed = agreement(wanted, run(images)[0])
    assert agreed.same > 0.8
    assert 0 < agreed.kl < 0.05
    for batch in (1, 5):
        torch.testing.assert_close(run(images[:batch])[0], run(images)[0][:batch])
