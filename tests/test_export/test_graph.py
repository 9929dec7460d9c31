"""The exported file computes what the student computes, at any batch size."""

from __future__ import annotations

import pytest
import torch

from src.errors import InputError
from src.export.graph import Deployed, export, largest_difference, load
from src.modules.backbones import SparseBackbone
from src.modules.methods.base import TokenReduction
from src.modules.student import sparsify
from tests.combinations import covering, enough_blocks, make_network, make_student, shaken

pytestmark = pytest.mark.slow

CASES = [
    *(("vit", method, ".onnx") for method in covering("vit") if method != "dense"),
    ("vit", "dynamicvit", ".pt2"),
    ("eva", "tome", ".onnx"),
    ("eva", "evit", ".pt2"),  # what it picks and fuses is in ONNX above
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


class FixesTheBatch(TokenReduction):
    def decide(self, tokens, number, count):
        return tokens.select(torch.arange(count).expand(len(tokens.x), -1))


def test_a_method_that_fixes_the_batch_is_refused(tmp_path):
    student = sparsify(make_network("vit", depth=2), method=FixesTheBatch, locations=[1])
    with pytest.raises(InputError, match=r"for any batch size: .* Write x\.shape\[0\]"):
        export(student, tmp_path / "student.pt2", 64)
