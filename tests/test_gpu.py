"""A GPU computes what a CPU does, trains under bf16 and replays every student as a CUDA graph."""

from __future__ import annotations

import copy

import pytest
import torch

from src.modules import graph_for_inference
from src.modules.backbones import SparseBackbone
from tests.combinations import CASES, make_student, shaken
from tests.helpers import ROOT, one_process, run

if not torch.cuda.is_available():
    pytest.skip("there is no CUDA device", allow_module_level=True)

FIXED = [(name, method) for name, method in CASES if method != "random"]


@pytest.fixture(autouse=True)
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.manual_seed(0)


def on_both(name: str, method: str) -> tuple[SparseBackbone, SparseBackbone]:
    student = shaken(make_student(name, method))
    return student, copy.deepcopy(student).cuda()


@pytest.mark.parametrize(("name", "method"), FIXED)
def test_a_gpu_computes_what_a_cpu_does(name, method):
    slow, fast = on_both(name, method)
    images = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        expected, output = slow(images), fast(images.cuda())
    torch.testing.assert_close(output.logits.cpu(), expected.logits, atol=1e-4, rtol=1e-4)
    for mine, kept in zip(output.decisions, expected.decisions, strict=True):
        torch.testing.assert_close(mine.cpu(), kept, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("name", "method"), CASES)
def test_a_step_under_bf16_has_finite_gradients(name, method):
    student = make_student(name, method).cuda().train()
    with torch.autocast("cuda", torch.bfloat16):
        output = student(torch.randn(4, 3, 64, 64, device="cuda"))
        loss = output.logits.float().square().mean()
        loss = loss + sum(summary.float().sum() for summary in output.summaries)
    loss.backward()
    gradients = [p.grad for p in student.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


@pytest.mark.parametrize(("name", "method"), FIXED)
def test_a_replayed_graph_computes_the_same(name, method):
    _, student = on_both(name, method)
    graph = graph_for_inference(student)
    for batch in (1, 2, 1):
        images = torch.randn(batch, 3, 64, 64, device="cuda")
        with torch.inference_mode():
            expected = student(images).logits
        torch.testing.assert_close(graph(images).logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("task", sorted(path.stem for path in (ROOT / "conf" / "task").iterdir()))
def test_every_task_trains_and_evaluates(task, tmp_path):
    if task in ("segmentation", "detection"):  # the extra `dense`
        pytest.importorskip("segmentation_models_pytorch")
        pytest.importorskip("pycocotools")
    device = "trainer=gpu"
    words = [f"task={task}", "debug=smoke", device, "logger=csv", "throughput_batch=1"]
    with one_process(ROOT):
        assert run(["train.py", *words, f"hydra.run.dir={tmp_path}"]) == 0
        evaluated = [f"ckpt_path={tmp_path}/checkpoints/last.ckpt", device]
        assert run(["eval.py", *evaluated, f"hydra.run.dir={tmp_path}/evaluated"]) == 0
