"""The embedding task: losses, neighbors, unlabelled data, a run from end to end."""

from __future__ import annotations

import csv
import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

from src.checkpoints.checkpoint import Checkpoint
from src.config import compose_config
from src.datamodules.digits import Digits
from src.datamodules.photographs import Photographs
from src.datamodules.scenes import CrowdedDigits
from src.errors import InputError
from src.modules.classification import SparseClassifier
from src.modules.embedding import DENSE, SparseEmbedder
from src.modules.feature_losses import AuxiliaryEmbedding, EmbeddingCosine, EmbeddingDistance
from src.modules.losses import TeacherOutput
from src.modules.neighbors import NearestNeighbors, nearest_class
from src.modules.student import attach, create_student
from src.runs.settings import check_target
from tests.combinations import NETWORKS, make_network

ROOT = Path(__file__).parents[2]
PHOTOS: dict[str, Any] = compose_config(
    ["task=embedding", "datamodule=photographs"], ("datamodule",)
)["datamodule"]


def photographs(root: Path | None, **changed: Any) -> Photographs:
    options = {k: v for k, v in PHOTOS.items() if k != "_target_"}
    return Photographs(**options | {"root": root and str(root), "num_workers": 0} | changed)


def write_photographs(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 255, (90, 100, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_without_a_classifier_the_output_is_timms_pooled_embedding(name: str) -> None:
    network: Any = make_network(name).eval()
    network.reset_classifier(0)
    plan = {"_target_": "src.modules.schedules.geometric", "rho": 1.0, "locations": [1]}
    student = attach(network, {"_target_": "src.modules.methods.dense.Dense"}, plan).eval()
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(student.predict(images), network(images), rtol=1e-5, atol=1e-5)
    assert student.predict(images).shape == (2, student.embedding_dim)


def test_no_classes_can_be_asked_for_by_name() -> None:
    student = create_student("vit_micro", num_classes=0)
    assert student.predict(torch.randn(1, 3, 80, 80)).shape == (1, student.embedding_dim)


def test_losses_by_hand() -> None:
    mine = torch.tensor([[3.0, 4.0], [1.0, 0.0]], requires_grad=True)
    teacher = TeacherOutput(torch.tensor([[6.0, 8.0], [0.0, 2.0]]), torch.zeros(2, 1, 2))
    output: Any = SimpleNamespace(logits=mine)
    torch.testing.assert_close(EmbeddingCosine()(output, teacher, None), torch.tensor(0.5))
    squared = EmbeddingDistance()(output, teacher, None)
    torch.testing.assert_close(squared, torch.tensor((9 + 16 + 1 + 4) / 104))
    squared.backward()
    assert mine.grad is not None
    larger = TeacherOutput(10 * teacher.logits, teacher.features)
    tenfold: Any = SimpleNamespace(logits=10 * mine)
    torch.testing.assert_close(EmbeddingDistance()(tenfold, larger, None), squared)
    predicted = AuxiliaryEmbedding().compare(-teacher.logits, teacher, None)
    torch.testing.assert_close(predicted, torch.tensor(2.0))


def test_neighbors_vote_as_by_scikit_learn() -> None:
    torch.manual_seed(1)
    bank, labels = torch.randn(300, 8), torch.randint(7, (300,))
    queries, truth = torch.randn(90, 8), torch.randint(7, (90,))
    judge = KNeighborsClassifier(20, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
    judge.fit(bank.numpy(), labels.numpy())
    voted = judge.predict(queries.numpy())
    unit = torch.nn.functional.normalize
    assert nearest_class(unit(queries), unit(bank), labels, 20).tolist() == voted.tolist()
    metric = NearestNeighbors(20)
    for part in (slice(0, 200), slice(200, 300)):
        metric.remember(bank[part], labels[part])
    metric.update(queries, truth)
    assert float(metric.compute()) == pytest.approx((voted == truth.numpy()).mean())
    few = NearestNeighbors(20)
    few.remember(bank[:3], torch.tensor([4, 4, 4]))
    few.update(queries, torch.full((90,), 4))
    assert few.compute() == 1


def module(num_classes: int, *words: str) -> SparseEmbedder:
    keys = ("task", "backbone", "method", "schedule", "loss", "optimizer")
    parts = compose_config(["task=embedding", "backbone.weights=null", *words], keys)
    task = {k: v for k, v in parts["task"].items() if not k.startswith("_")}
    return SparseEmbedder(num_classes=num_classes, **task)


@pytest.mark.parametrize(
    ("words", "term"),
    [
        (("method=query_absorb",), "auxiliary"),
        (("method=dynamicvit",), "keep_ratio"),
        (("backbone=swin_micro", "method=query_paths"), "auxiliary"),
        (("task.outputs=12",), "auxiliary"),
    ],
)
def test_every_kind_of_method_learns(
    words: tuple[str, ...], term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = module(10, *words)
    made.check_trainable()
    data: Any = SimpleNamespace(targets=("label",))
    made._trainer = SimpleNamespace(datamodule=data)  # type: ignore[assignment]
    made.setup("fit")
    images = torch.randn(2, 3, 80, 80)
    assert made.teacher is made.dense
    total, values = made.loss(made(images), made.teacher(images), torch.zeros(2))  # type: ignore[misc]
    assert set(values) == {"embedding", "embedding_distance", "token_distillation", term}
    total.backward()
    learned = [p for p in made.student.method.parameters() if p.grad is not None and p.grad.any()]
    assert total.isfinite()
    assert learned


def test_what_it_is_judged_by_follows_the_data() -> None:
    labelled, bare = module(10), module(0)
    assert labelled.judged_by.name == "knn1"
    assert labelled.validation_metrics() == ["val/knn1", "val/knn1_dense", "val/cosine"]
    assert (bare.judged_by.name, bare.validation_metrics()) == ("cosine", ["val/cosine"])
    assert module(10, "task.bank_images=0").judged_by.name == "cosine"
    for data in (Digits, CrowdedDigits, Photographs):
        check_target(SparseEmbedder, data)
    with pytest.raises(InputError, match="but the data has images without labels"):
        check_target(SparseClassifier, Photographs)


def test_damaged_weights_of_the_dense_network_are_named(tmp_path: Path) -> None:
    made = module(0)
    for damaged in ({"norm.weight": torch.ones(2)}, 3):
        made._stored = damaged
        made._trainer = SimpleNamespace(datamodule=Digits)  # type: ignore[assignment]
        with pytest.raises(InputError, match=f"{DENSE} is not the weights of its network"):
            made.setup("test")


def test_photographs_without_labels(tmp_path: Path) -> None:
    write_photographs(tmp_path / "mixed" / "deep", 7)
    data = photographs(tmp_path / "mixed", val_every=3, batch_size=4)
    data.check()
    data.setup("fit")
    assert data.num_classes == 0
    assert list(data.val_filenames() or ()) == ["deep/0.png", "deep/3.png", "deep/6.png"]
    ((images, labels),) = data.train_dataloader()
    assert images.shape == (4, 3, 80, 80)
    assert not labels.any()
    for part, count in (("train", 5), ("validation", 2)):
        write_photographs(tmp_path / "parts" / part, count)
    parts = photographs(tmp_path / "parts", batch_size=4)
    parts.check()
    assert parts.source.num_train_images() == 5
    for root, message in (
        (None, "datamodule.root is not set"),
        (tmp_path / "none", "is not a folder"),
        (tmp_path / "parts" / "train" / "0.png", "is not a folder"),
    ):
        with pytest.raises(InputError, match=message):
            photographs(root).check()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="0 photographs for training and 0 for validation"):
        photographs(tmp_path / "empty").check()
    (tmp_path / "parts" / "train" / "0.png").write_text("none")
    with pytest.raises(InputError, match=r"0\.png cannot be read as an image"):
        photographs(tmp_path / "parts").check()


def test_the_bank_is_spread_and_prepared_as_for_evaluation(tmp_path: Path) -> None:
    write_photographs(tmp_path, 10)
    data = photographs(tmp_path, val_every=5, batch_size=4)
    images = torch.cat([images for images, _ in data.bank_dataloader(4)])
    again = torch.cat([images for images, _ in data.bank_dataloader(4)])
    assert torch.equal(images, again)  # no augmentation
    everything = torch.cat([images for images, _ in data.bank_dataloader(100)])
    assert len(everything) == 8
    assert torch.equal(images, everything[::2])


def run(monkeypatch: pytest.MonkeyPatch, program: str, *words: str) -> None:
    GlobalHydra.instance().clear()
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [f"{program}.py", *words, "callbacks.progress=null"])
    runpy.run_path(f"{program}.py", run_name="__main__")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_train_evaluate_sweep_and_predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test, sweep = (tmp_path / name for name in ("train", "test", "sweep"))
    words = ("task=embedding", "debug=smoke", "throughput_batch=1", "callbacks.throughput=null")
    more = ("callbacks.freeze_backbone.epochs=0", "optimizer.backbone_lr_scale=10")
    run(monkeypatch, "train", *words, *more, f"hydra.run.dir={train}")
    last = f"ckpt_path={train / 'checkpoints' / 'last.ckpt'}"
    table = tmp_path / "embeddings.npz"
    words = (last, "throughput_batch=1", f"predictions={table}")
    run(monkeypatch, "eval", *words, f"hydra.run.dir={test}")
    row = json.loads((test / "result.json").read_text())
    assert (row["task"]["metric"], row["task"]["label"]) == ("knn1", "kNN top-1 (%)")
    # Compared with the network that training started from, not with the trained one run dense.
    with (train / "csv" / "metrics.csv").open() as file:
        trained = [line["val/cosine"] for line in csv.DictReader(file) if line.get("val/cosine")]
    assert row["cosine"] == pytest.approx(float(trained[-1]), abs=0.01)
    assert row["cosine"] < 99.9
    checkpoint = Checkpoint.read(train / "checkpoints" / "last.ckpt")
    assert checkpoint.class_names is None
    stored = checkpoint.content[DENSE]
    assert stored["blocks.0.mlp.fc1.weight"].ndim == 2
    packed = np.load(table)
    assert packed["embeddings"].shape == (4, 96)
    words = (last, "throughput_batch=1", "rho=0.5,0.9", f"hydra.sweep.dir={sweep}")
    run(monkeypatch, "eval", "-m", *words)
    assert "kNN top-1 (%)" in (sweep / "report.html").read_text()
    write_photographs(tmp_path / "photos", 3)
    for number, path in enumerate((last, f"ckpt_path={train / 'student.safetensors'}")):
        made = tmp_path / f"{number}.csv"
        words = ("task=embedding", path, f"images={tmp_path / 'photos'}", f"predictions={made}")
        run(monkeypatch, "predict", *words, "trainer=cpu", "num_workers=0")
        lines = made.read_text().splitlines()
        assert lines[0].startswith("file,e0,e1,")
        assert [line.split(",")[0] for line in lines[1:]] == ["0.png", "1.png", "2.png"]
    assert (tmp_path / "0.csv").read_text() == (tmp_path / "1.csv").read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_photographs_without_labels_suffice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photographs(tmp_path / "photos", 9)
    words = ("task=embedding", "datamodule=photographs", "trainer=cpu", "trainer.max_epochs=1")
    data = ("datamodule.batch_size=4", "datamodule.val_every=5", "datamodule.num_workers=0")
    quiet = ("callbacks.throughput=null", "callbacks.token_maps=null", "optimizer.warmup_epochs=0")
    where = (f"datamodule.root={tmp_path / 'photos'}", f"hydra.run.dir={tmp_path / 'run'}")
    run(monkeypatch, "train", *words, *data, *quiet, *where)
    last = f"ckpt_path={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}"
    run(monkeypatch, "eval", last, "throughput_batch=1", f"hydra.run.dir={tmp_path / 'test'}")
    row = json.loads((tmp_path / "test" / "result.json").read_text())
    assert row["task"] == {
        "metric": "cosine",
        "label": "cosine to dense (%)",
        "metrics": ["cosine"],
    }
    assert 0 < row["cosine"] <= 100
