"""`select=matmul` writes graphs that select without sorting and look-ups, and decide alike."""

from __future__ import annotations

import pytest
import torch

from src.errors import InputError
from src.export.graph import export, load
from src.modules.layers import products
from src.modules.layers.tokens import Tokens
from tests.combinations import make_student, shaken

LOOK_UPS = ("TopK", "Gather", "Scatter", "ArgMax", "OneHot", "NonZero")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["dynamicvit", "evit", "query_absorb"])
def test_no_look_ups_and_the_same_logits(method, tmp_path) -> None:
    onnx = pytest.importorskip("onnx")
    torch.manual_seed(0)
    student = shaken(make_student("vit", method, depth=3), by=0.05).eval()
    usual, plain = tmp_path / "usual.onnx", tmp_path / "plain.onnx"
    export(student, usual, 64)
    export(student, plain, 64, select="matmul")
    names = {node.op_type for node in onnx.load(plain).graph.node}
    assert not [name for name in names if name.startswith(LOOK_UPS)]
    assert [n.op_type for n in onnx.load(usual).graph.node if n.op_type.startswith(LOOK_UPS)]
    images = torch.randn(5, 3, 64, 64)
    assert (load(usual)(images)[0] - load(plain)(images)[0]).abs().max() < 1e-5


def test_the_same_tokens_in_the_same_order() -> None:
    torch.manual_seed(0)
    tokens = Tokens(torch.randn(3, 1 + 20, 8), prefix=1, size=torch.rand(3, 21))
    score = torch.randn(3, 20)
    index = score.topk(7, dim=1).indices
    for usual, plain in (
        (tokens.select(index), products.select(tokens, score, 7)),
        (tokens.fuse(index, score), products.fuse(tokens, score, 7, score)),
    ):
        torch.testing.assert_close(plain.x, usual.x)
        torch.testing.assert_close(plain.size, usual.size)
        assert torch.equal(plain.source, usual.source)
    assert products.rank(torch.tensor([[1.0, 2.0, 1.0, -torch.inf]])).tolist() == [[1, 0, 2, 3]]


def test_a_method_without_such_a_form_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="select=matmul: ToMe has no form without look-ups"):
        export(make_student("vit", "tome"), tmp_path / "a.onnx", 64, select="matmul")
