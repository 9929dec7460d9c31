"""Every method is one graph under torch.compile, at any batch size."""

from __future__ import annotations

import os
import shutil
from functools import partial

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters

from src.modules import compile_for_inference
from src.modules.backbones import SparseBackbone, family_of_class
from src.modules.teacher import Teacher
from tests.combinations import NETWORKS, covering, enough_blocks, make_student, students_of

pytestmark = pytest.mark.slow

NATURAL = [
    (name, family_of_class(type(student.backbone)).natural_method)
    for name in NETWORKS
    for student in [students_of(name)["dense"]]
]
CASES = dict.fromkeys(
    [(name, method) for name in ("vit", "swin") for method in covering(name)]
    + NATURAL  # a family's walk is the same without a decision: `dense` is of each kind once
)
TRAINED = dict.fromkeys(
    NATURAL
    + [
        ("vit", method)
        for method in covering("vit")
        if any(True for _ in students_of("vit")[method].method.parameters())
    ]
)


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch._dynamo.reset()


def make(name: str, method: str) -> SparseBackbone:
    return make_student(name, method, depth=enough_blocks(name, method))


def assert_the_same(compiled, student: SparseBackbone, images: torch.Tensor) -> None:
    torch.manual_seed(0)
    mine = compiled(images).logits
    torch.manual_seed(0)
    torch.testing.assert_close(mine, student(images).logits)


@pytest.mark.parametrize(("name", "method"), CASES)
@torch.inference_mode()
def test_inference_is_one_graph_whatever_the_batch(name, method):
    """Of a batch that is declared free, which is an error where it is not."""
    student = make(name, method).eval()
    counter = CompileCounter()
    compiled = torch.compile(student, fullgraph=True, backend=counter)
    for batch in (2, 3, 7):
        images = torch.randn(batch, 3, 64, 64)
        torch._dynamo.mark_dynamic(images, 0)
        assert_the_same(compiled, student, images)
    assert counter.frame_count == 1


@pytest.mark.parametrize(("name", "method"), [("vit", "dynamicvit"), ("convnext", "asymmetric")])
@torch.inference_mode()
def test_a_second_size_of_the_batch_leads_to_a_graph_for_all(name, method):
    student = make(name, method).eval()
    counter = CompileCounter()
    compiled = torch.compile(student, fullgraph=True, backend=counter)
    for batch in (2, 3, 7):
        assert_the_same(compiled, student, torch.randn(batch, 3, 64, 64))
    assert counter.frame_count == 2


@pytest.mark.parametrize(("name", "method"), TRAINED)
def test_training_is_one_graph(name, method):
    student = make(name, method).train()
    compiled = torch.compile(student, fullgraph=True, backend="aot_eager")
    output = compiled(torch.randn(2, 3, 64, 64))
    (output.logits.sum() + sum(summary.sum() for summary in output.summaries)).backward()
    assert all(parameter.grad is not None for parameter in student.method.parameters())


needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("g++", "clang++", os.environ.get("CXX", "g++"))),
    reason="programs for the CPU need a C++ compiler",
)


def test_a_compiled_teacher_teaches_the_same(monkeypatch):
    """Through a compiler that writes no program, for which the next test stands."""
    compiler = partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", lambda network, **_: compiler(network, fullgraph=True))
    student = make("vit", "dynamicvit")
    images = torch.randn(2, 3, 64, 64)
    exact, compiled = Teacher(student)(images), Teacher(student, compiled=True)(images)
    torch.testing.assert_close(compiled.logits, exact.logits)
    torch.testing.assert_close(compiled.features, exact.features)
    (0.5 * student.train()(images).logits - compiled.logits).square().sum().backward()


@torch._dynamo.config.patch(recompile_limit=1)
def test_a_compiled_student_takes_many_keep_ratios(monkeypatch):
    """More than torch's limit of programs; through a compiler that writes none."""
    compiler = partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", lambda network, **_: compiler(network, fullgraph=True))
    student = make_student("vit", "evit", depth=2).eval()
    program = compile_for_inference(student)
    images = torch.randn(2, 3, 64, 64)
    for student.rho in (0.8, 0.5, 0.2):
        torch.testing.assert_close(program(images).logits, student(images).logits)


@needs_compiler
def test_a_compiled_student_computes_the_same_by_one_program(monkeypatch):
    monkeypatch.setattr("torch._inductor.config.compile_threads", 1)  # no processes beside this
    student = make_student("vit", "dynamicvit", depth=2).eval()
    program = compile_for_inference(student)
    counters.clear()
    for batch in (2, 5):
        images = torch.randn(batch, 3, 64, 64)
        mine, theirs = program(images), student(images)
        torch.testing.assert_close(mine.logits, theirs.logits)
        torch.testing.assert_close(mine.decisions, theirs.decisions)
        assert not mine.logits.requires_grad
    assert counters["stats"]["unique_graphs"] == 1
