"""The exported file computes what the student computes, at any batch size."""

from __future__ import annotations

import pytest
import torch

from src.errors import InputError
from src.export.graph import Deployed, export, largest_difference, load
from src.modules.backbones import SparseBackbone
from tests.combinations import covering, enough_blocks, make_student, shaken

pytestmark = pytest.mark.slow

CASES = [
    *(("vit", method, ".onnx") for method in covering("vit") if method != "dense"),
    ("vit", "dynamicvit", ".pt2"),
    ("lvvit", "dynamicvit", ".onnx"),
    ("eva", "tome", ".onnx"),
    ("eva", "evit", ".onnx"),
    ("swin", "asymmetric", ".onnx"),
    ("swin", "query_windows", ".onnx"),
    ("convnext", "query_paths", ".onnx"),
]


def make(name: str, method: str) -> SparseBackbone:
    torch.manual_seed(0)
    return shaken(make_student(name, method, depth=enough_blocks(name, method)), by=0.05)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "method", "suffix"), CASES)
def test_the_file_agrees_with_pytorch(name, method, suffix, tmp_path):
    student = make(name, method)
    path = tmp_path / f"student{suffix}"
    export(student, path, 64, survivors=True)
    run = load(path)
    model = Deployed(student, survivors=True)
    images = torch.randn(5, 3, 64, 64)
    if not torch.equal(model(images)[1], model(images)[1]):  # drawn anew: but as many
        assert torch.equal(run(images)[1].sum(2), model(images)[1].sum(2))
        return
    for batch in (1, 2, 5):
        assert largest_difference(model, run, 64, batch) < 1e-4
    assert torch.equal(run(images)[1], model(images)[1])  # the same patches survive
    assert 0 < run(images)[1].mean() < 1 or student.method.merges


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.onnx or \.pt2"):
        export(make("vit", "evit"), tmp_path / "student.trt", 64)
