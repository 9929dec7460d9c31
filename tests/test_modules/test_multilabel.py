"""Multi-label classification: losses, metrics, embedded data, a run from end to end."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from torch.nn import functional as F
from torchmetrics.classification import MultilabelAveragePrecision, MultilabelF1Score

from src.config import compose_config
from src.datamodules.digit_sets import DigitSets
from src.datamodules.digits import Digits
from src.datamodules.scenes import CrowdedScenes
from src.errors import InputError
from src.export.check import export_and_check
from src.modules.classification import SparseClassifier
from src.modules.losses import TeacherOutput
from src.modules.multilabel import MeanAveragePrecision, SparseMultilabelClassifier
from src.modules.multilabel_losses import (
    AuxiliaryBinaryDistillation,
    BinaryClassification,
    BinaryDistillation,
    bernoulli_divergence,
    known_cross_entropy,
)
from src.runs.settings import check_target

NAN = float("nan")
ROOT = Path(__file__).parents[2]
SMALL = {"network": "vit_micro_patch8_80", "image_size": 80, "batch_size": 4, "num_workers": 0}


def outputs(logits: torch.Tensor) -> Any:
    return SimpleNamespace(logits=logits)


def test_cross_entropy_of_known_labels_alone() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]], requires_grad=True)
    target = torch.tensor([[1.0, 0.0, -1.0], [NAN, 1.0, 0.0]])
    loss = BinaryClassification()(outputs(logits), None, target)
    known = [(2.0, 1), (-1.0, 0), (3.0, 1), (-2.0, 0)]
    expected = sum(F.softplus(torch.tensor(-x if y else x)) for x, y in known) / 4
    torch.testing.assert_close(loss.detach(), expected)
    loss.backward()
    assert (logits.grad == 0).tolist() == [[False, False, True], [True, False, False]]
    assert known_cross_entropy(logits, torch.full((2, 3), NAN)) == 0


def test_divergence_is_that_of_bernoulli_distributions() -> None:
    teacher, student = torch.randn(2, 5, 7, dtype=torch.float64) * 3
    p, q = teacher.sigmoid(), student.sigmoid()
    plain = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    found = bernoulli_divergence(teacher, student)
    assert found.shape == (5, 7)
    torch.testing.assert_close(found.double(), plain, rtol=1e-4, atol=1e-6)
    assert bernoulli_divergence(teacher, teacher).abs().max() == 0
    term = BinaryDistillation()(outputs(student), TeacherOutput(teacher, teacher), None)
    torch.testing.assert_close(term.double(), plain.mean(), rtol=1e-4, atol=1e-6)
    auxiliary = AuxiliaryBinaryDistillation().compare(
        student, TeacherOutput(teacher, teacher), None
    )
    torch.testing.assert_close(auxiliary, term)
    # The softmax's divergence sees nothing of a shift of all logits; a Bernoulli's does.
    assert bernoulli_divergence(teacher, teacher + 1).min() > 0


def test_mean_average_precision_by_hand() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.3], [0.8, 0.2, 0.4], [0.7, 0.9, 0.5], [0.1, 0.8, 0.6]])
    labels = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, -1, 0]])
    metric = MeanAveragePrecision()
    metric.update(scores[:1], labels[:1])
    metric.update(scores[1:], labels[1:])
    # Class 0: hits at ranks 1 and 3. Class 1, without the unknown: hits at ranks 1 and 2. Class 2
    # has no positive and does not count.
    torch.testing.assert_close(metric.compute(), torch.tensor(((1 + 2 / 3) / 2 + 1) / 2))
    metric.reset()
    metric.update(scores, torch.full((4, 3), -1))
    assert metric.compute().isnan()


def module(*words: str) -> SparseMultilabelClassifier:
    keys = ("backbone", "method", "schedule", "loss", "optimizer")
    parts = compose_config(["task=multilabel", "backbone.weights=null", *words], keys)
    return SparseMultilabelClassifier(num_classes=10, **parts)


def test_metrics_are_torchmetrics_where_all_is_known() -> None:
    made, logits = module(), torch.randn(40, 10)
    labels = (torch.rand(40, 10) < 0.3).float()
    metrics = made.metrics["val_split"]
    for part in (slice(0, 25), slice(25, 40)):
        made.update_metrics(metrics, outputs(logits[part]), labels[part])
    found, scores = made.percentages(metrics), logits.sigmoid()
    ap = MultilabelAveragePrecision(10)(scores, labels.long())
    torch.testing.assert_close(found["map"], 100 * ap)
    f1 = MultilabelF1Score(10, average="micro")(scores, labels.long())
    torch.testing.assert_close(found["f1"], 100 * f1)
    assert made.validation_metrics() == ["val/map", "val/f1"]
    metrics.reset()
    hidden = torch.where(labels == 0, NAN, labels)
    made.update_metrics(metrics, outputs(logits), hidden)
    assert made.percentages(metrics)["map"] == 100


def test_embedded_sets_are_the_digits_of_their_scenes() -> None:
    data = DigitSets(train_images=8, val_images=6, **SMALL)
    data.check()
    data.setup("fit")
    (images, labels), *_ = data.val_dataloader()
    assert images.shape == (4, 3, 80, 80)
    assert labels.shape == (4, data.num_classes)
    again, mean, std = data.val_dataset(), (0.5,) * 3, (0.5,) * 3
    scenes = CrowdedScenes(train=False, length=6, image_size=80, seed=0, mean=mean, std=std)
    for index in range(6):
        digits = sorted({int(label) - 1 for label in scenes[index][1]["labels"]})
        assert again[index][1].nonzero().flatten().tolist() == digits
        assert digits
    assert data.class_names == tuple("0123456789")


def test_target_and_mixing_are_checked() -> None:
    check_target(SparseMultilabelClassifier, DigitSets)
    with pytest.raises(
        InputError, match=r"from any number of classes .* data has a class for each"
    ):
        check_target(SparseMultilabelClassifier, Digits)
    with pytest.raises(
        InputError, match=r"from a class .* data has any number of classes for each"
    ):
        check_target(SparseClassifier, DigitSets)
    with pytest.raises(InputError, match="mixes images of one label each"):
        DigitSets(train_images=8, mixup={"mixup_alpha": 0.8}, **SMALL)


def test_an_8_bit_export_is_not_scored_by_top_1() -> None:
    target = "src.modules.multilabel.SparseMultilabelClassifier"
    with pytest.raises(InputError, match=r"int8=True measures top-1, and .* write int8=false"):
        export_and_check(
            {"task": {"_target_": target}, "ckpt_path": "a.ckpt", "file": "a.onnx"}
            | {"int8": True, "calibration_images": 32, "keep_float": "auto"}
        )


@pytest.mark.parametrize(
    ("words", "terms"),
    [
        (("method=query_absorb",), {"classification", "token_distillation", "auxiliary"}),
        (("method=dynamicvit",), {"classification", "token_distillation", "keep_ratio"}),
        (
            ("backbone=swin_micro", "method=query_paths", "loss.logit_distillation.weight=0.5"),
            {"classification", "token_distillation", "auxiliary", "logit_distillation"},
        ),
    ],
)
def test_every_kind_of_method_learns(words: tuple[str, ...], terms: set[str]) -> None:
    made = module(*words)
    made.check_trainable()
    made.setup("fit")
    output = made(torch.randn(2, 3, 80, 80))
    target = torch.tensor([[0.0, 1.0] * 5, [1.0, NAN] * 5])
    total, values = made.loss(output, made.teacher(torch.randn(2, 3, 80, 80)), target)
    assert set(values) == terms
    total.backward()
    learned = [p for p in made.student.parameters() if p.grad is not None and p.grad.any()]
    assert total.isfinite()
    assert learned


def run(monkeypatch: pytest.MonkeyPatch, program: str, *words: str) -> None:
    GlobalHydra.instance().clear()
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [f"{program}.py", *words, "callbacks.progress=null"])
    runpy.run_path(f"{program}.py", run_name="__main__")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_train_evaluate_and_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test, sweep = (tmp_path / name for name in ("train", "test", "sweep"))
    words = ("task=multilabel", "debug=smoke", "throughput_batch=1", "callbacks.throughput=null")
    run(monkeypatch, "train", *words, f"hydra.run.dir={train}")
    best = f"ckpt_path={train / 'checkpoints' / 'best.ckpt'}"
    picture = tmp_path / "tokens.png"
    words = (best, "throughput_batch=1", f"token_maps={picture}")
    run(monkeypatch, "eval", *words, "rho=0.5", f"hydra.run.dir={test}")
    row = json.loads((test / "result.json").read_text())
    assert (row["task"]["metric"], row["task"]["label"]) == ("map", "mAP (%)")
    assert set(row["task"]["metrics"]) == {"map", "f1"}
    assert row["method"] == "query_absorb"
    assert 0 <= row["map"] <= 100
    assert picture.is_file()
    words = (best, "throughput_batch=1", "rho=0.5,0.9", f"hydra.sweep.dir={sweep}")
    run(monkeypatch, "eval", "-m", *words)
    assert "mAP (%)" in (sweep / "report.html").read_text()
