"""`select=matmul` writes graphs that select without sorting and look-ups, and decide alike."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from src.errors import InputError
from src.export.graph import export, load
from src.modules.backbones import SparseBackbone
from src.modules.layers import products
from src.modules.layers.matching import bipartite, groups
from src.modules.layers.tokens import Tokens, take_rows
from src.modules.methods.disposals.absorb import Absorb
from src.modules.methods.disposals.base import Disposal, Ranking
from src.modules.methods.selection import Selection
from src.modules.methods.selectors.base import Selector
from tests.combinations import enough_blocks, make_student, shaken, students_of

LOOK_UPS = ("TopK", "Gather", "Scatter", "ArgMax", "OneHot", "NonZero", "CumSum")
# Each kind of graph once; `test_runtimes.py` has the file of one that absorbs.
IN_FILES = ("evit", "static", "pitome", "tome")


class Operators(TorchDispatchMode):
    """Notes the names of operators, and those that make 64-bit integers of two dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.integer: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.names.add(name)
        if isinstance(output, Tensor) and output.dtype == torch.int64 and output.ndim > 1:
            self.integer.add(name)
        return output


def by_products(student: SparseBackbone) -> SparseBackbone | None:
    student = copy.deepcopy(student)
    try:
        student.method.use_products()
    except InputError:
        return None
    return student


CLAIMING = [name for name, student in students_of("vit").items() if by_products(student)]


def made(method: str, depth: int = 3) -> SparseBackbone:
    torch.manual_seed(0)
    return shaken(make_student("vit", method, depth=depth), by=0.05).eval()


def logits_of(student: SparseBackbone, images: Tensor) -> Tensor:
    torch.manual_seed(0)  # one method draws its scores
    with torch.inference_mode():
        return student(images).logits


def test_every_selector_and_what_merges_have_such_a_form() -> None:
    methods = [students_of("vit")[name].method for name in CLAIMING]
    selections = [method for method in methods if isinstance(method, Selection)]
    selectors = {each for each in Selector.__subclasses__() if each.__module__.startswith("src.")}
    assert selectors <= {type(method.selector) for method in selections}
    disposals = {each for each in Disposal.__subclasses__() if "by_products" in vars(each)}
    assert disposals == {type(method.disposal) for method in selections}
    assert {"tome", "pitome"} < set(CLAIMING)


@pytest.mark.parametrize("method", CLAIMING)
def test_the_same_logits(method: str) -> None:
    student, images = made(method), torch.randn(5, 3, 64, 64)
    plain = by_products(student)
    assert plain is not None
    if method == "random":  # the second draw goes to tokens in another order
        pairs = zip(student(images).counts, plain(images).counts, strict=True)
    else:
        assert (logits_of(student, images) - logits_of(plain, images)).abs().max() < 1e-5
        pairs = zip(student(images).decisions, plain(images).decisions, strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("method", CLAIMING)
def test_no_look_ups_are_computed(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Which patches survive is an output that a file without it does not compute.
    monkeypatch.setattr(Tokens, "survivors", lambda tokens: tokens.x[..., 0])
    student = made(method)
    plain = by_products(student)
    assert plain is not None
    seen = []
    for each in (student, plain):
        with Operators() as operators:
            logits_of(each, torch.randn(2, 3, 64, 64))
        seen.append(operators)
    words = ("topk", "sort", "gather", "scatter", "index", "argmax", "nonzero", "diagonal", "max")
    assert [name for name in seen[0].names if name.startswith(words)]
    assert not [name for name in seen[1].names if name.startswith(words)]
    assert seen[0].integer
    assert not seen[1].integer


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", IN_FILES)
def test_no_look_ups_in_the_file(method: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    student, path = made(method, enough_blocks("vit", method)), tmp_path / "plain.onnx"
    export(student, path, 64, select="matmul")
    assert_without_look_ups(path, student)


def assert_without_look_ups(path: Path, student: SparseBackbone) -> None:
    """Check that a file has no look-ups and no indices, and the student's logits."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(path)
    assert not [n.op_type for n in model.graph.node if n.op_type.startswith(LOOK_UPS)]
    values = {each.name: each.type.tensor_type for each in model.graph.value_info}
    assert len(values) > 100
    indices = [
        name
        for name, kind in values.items()
        if kind.elem_type == onnx.TensorProto.INT64 and len(kind.shape.dim) > 1
    ]
    assert not indices  # those of one dimension are shapes
    images = torch.randn(5, 3, 64, 64)
    (logits,) = load(path)(images)
    assert (logits - logits_of(student, images)).abs().max() < 1e-5


def standing(tokens: Tokens) -> Tensor:
    """What stands for each patch of the image; 0 where nothing does."""
    rows = take_rows(tokens.patches, tokens.source.clamp(min=0).long())
    return rows * (tokens.source >= 0).unsqueeze(2)


def test_the_same_tokens_stand_for_the_patches() -> None:
    torch.manual_seed(0)
    source = torch.randint(-1, 20, (3, 30))
    tokens = Tokens(torch.randn(3, 1 + 20, 8), prefix=1, size=torch.rand(3, 21), source=source)
    score = torch.randn(3, 20)
    index = score.topk(7, dim=1).indices
    for usual, plain in (
        (tokens.select(index), products.select(tokens, score, 7)),
        (tokens.fuse(index, score), products.fuse(tokens, score, 7, score)),
        (Absorb()(tokens, Ranking(score, score, 7)), products.absorb(tokens, score, 7)),
    ):
        torch.testing.assert_close(standing(plain), standing(usual))
        assert torch.equal(plain.source < 0, usual.source < 0)
        torch.testing.assert_close(plain.x.sum(1), usual.x.sum(1))
        torch.testing.assert_close(plain.size.sort().values, usual.size.sort().values)
    order = products.order(score, 7)
    assert torch.equal(order.sort().values, index.sort().values)
    assert torch.equal(products.select(tokens, score, 7).patches, take_rows(tokens.patches, order))
    assert products.rank(torch.tensor([[1.0, 2.0, 1.0, -torch.inf]])).tolist() == [[1, 0, 2, 3]]


def test_the_same_matching() -> None:
    torch.manual_seed(0)
    affinity = torch.rand(3, 8, 7)
    usual = groups(*bipartite(affinity, 5), 7)[:, :8]
    assert torch.equal(products.bipartite(affinity, 5).long(), usual)


def test_absorbing_costs_a_hundredth_of_deit_ti() -> None:
    tokens, macs = Tokens(torch.randn(1, 197, 192), prefix=1), 0.0
    for count in (137, 96, 67):  # rho = 0.7
        score = torch.randn(1, tokens.patches.shape[1])
        with FlopCounterMode(display=False) as counter:
            tokens = products.absorb(tokens, score, count)
        macs += counter.get_total_flops() / 2
    assert 1e6 < macs < 0.01 * 1.254e9


@pytest.mark.parametrize("method", ["mctf", "ats"])
def test_a_method_without_such_a_form_is_refused(method: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"select=matmul: \w+ has no form without look-ups"):
        export(make_student("vit", method), tmp_path / "a.onnx", 64, select="matmul")
