"""What the outputs of a file are: a saved student says it, and commands take it from there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from src import create_student, load, search_schedule
from src.config import CONF, compose_config, instantiate, locate, option
from src.errors import InputError
from src.export.graph import export
from src.export.networks import build
from src.modules.dense import DenseModule
from src.modules.saving.description import describe
from src.predictions.embeddings import EmbeddingTable
from src.predictions.label_sets import LabelSetTable
from src.predictions.labels import LabelTable
from src.runs.predictors import Predictor, open_predictor
from src.runs.self_described import check_described

GROUPS = ["task", "backbone", "method", "schedule", "datamodule"]


def saved(path: Path, task: str | None = None, **options: object) -> Path:
    student = create_student("vit_micro", method="evit", rho=0.5, **{"num_classes": 4} | options)
    student.task = task
    student.save(path)
    return path


def opened(path: Path, *overrides: str) -> Predictor:
    task = next((o.partition("=")[2] for o in overrides if o.startswith("task=")), None)
    config = OmegaConf.create({"ckpt_path": str(path), "rho": 0.25})
    return open_predictor(config, overrides, task or "classification")


def test_tasks_without_a_head_declare_their_names() -> None:
    kinds = {path.stem: locate(option("task", path.stem)["task"]) for path in CONF.glob("task/*")}
    named = {name: kind.task for name, kind in kinds.items() if not issubclass(kind, DenseModule)}
    assert named == {name: name for name in named}
    assert {"classification", "multilabel", "embedding", "video"} <= named.keys()


def test_a_student_knows_what_its_outputs_are(tmp_path: Path) -> None:
    assert create_student("vit_micro").task == "classification"
    assert create_student("video_micro", method="rlt").task == "video"
    student = create_student("vit_micro", num_classes=0)
    assert student.task == "embedding"
    student.reset_classifier(3)
    assert student.task == "classification"
    loaded = load(saved(tmp_path / "a.safetensors", "multilabel"))
    assert loaded.task == "multilabel"
    loaded.reset_classifier(3)
    assert loaded.task == "classification"
    assert load(saved(tmp_path / "b.safetensors", num_classes=0)).task == "embedding"


def test_a_module_names_its_students_task() -> None:
    settings = compose_config(["task=multilabel", "backbone=vit_micro"], [*GROUPS, "loss"])
    settings["task"] |= {key: settings[key] for key in ("backbone", "method", "schedule", "loss")}
    module = instantiate(settings["task"], num_classes=3, optimizer={})
    assert module.student.task == "multilabel"


@pytest.mark.parametrize(
    ("task", "classes", "words", "kind"),
    [
        (None, 4, [], LabelTable),
        (None, 0, [], EmbeddingTable),
        ("multilabel", 4, [], LabelSetTable),
        ("multilabel", 4, ["task=multilabel"], LabelSetTable),
        (None, 4, ["task=multilabel"], LabelSetTable),  # as former files must be
    ],
)
def test_predictions_are_of_the_files_task(
    task: str | None, classes: int, words: list[str], kind: type, tmp_path: Path
) -> None:
    path = saved(tmp_path / "student.safetensors", task, num_classes=classes)
    assert opened(path, *words).kind is kind


@pytest.mark.parametrize(
    ("task", "classes", "words", "said"),
    [
        ("multilabel", 4, "task=classification", r"is not what \S* is for, task=multilabel"),
        (None, 4, "task=embedding", r"is not what \S* is for, task=classification: leave it out"),
        (None, 0, "task=classification", r"is not what \S* is for, task=embedding"),
        (None, 4, "task=segmentation", r"task=segmentation needs a head, and \S* is a student"),
        ("segmentation", 4, "", r"task=segmentation needs a head, and \S* is a student without"),
        (None, 4, "datamodule.image_size=96", r"would change nothing, for \S* brings its own"),
    ],
)
def test_another_task_is_refused(
    task: str | None, classes: int, words: str, said: str, tmp_path: Path
) -> None:
    path = saved(tmp_path / "student.safetensors", task, num_classes=classes)
    with pytest.raises(InputError, match=said):
        opened(path, words)


@pytest.mark.parametrize("word", ["rho=0.25", "+rho=0.25", "++rho=0.25"])
def test_a_ratio_is_taken_however_it_is_typed(word: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "student.safetensors")
    assert opened(path).network.rho == 0.5
    network = opened(path, word).network
    assert network.rho == 0.25


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("task", "classes", "kind"), [("multilabel", 4, LabelSetTable), (None, 0, EmbeddingTable)]
)
def test_a_graph_says_it_too(task: str | None, classes: int, kind: type, tmp_path: Path) -> None:
    student = create_student("vit_micro", method="evit", num_classes=classes).eval()
    student.task = task
    path = tmp_path / "student.onnx"
    export(student, path, 80, described=describe(student, None, None))
    predictor = opened(path)
    assert predictor.kind is kind
    images = torch.randn(2, 3, 80, 80)
    torch.testing.assert_close(
        predictor.network(images).logits, student.predict(images), atol=1e-5, rtol=0
    )
    for words in ("task=segmentation", "task=classification"):
        with pytest.raises(InputError, match=words):
            opened(path, words)


def test_an_export_names_its_task() -> None:
    settings = compose_config(["task=multilabel", "backbone=vit_micro"], GROUPS)
    settings["backbone"]["weights"] = None
    network, _ = build(settings, None)
    assert network.task == "multilabel"


def test_several_labels_judge_no_schedule() -> None:
    student = create_student("vit_micro", method="evit").eval()
    student.task = "multilabel"
    with pytest.raises(InputError, match="this student's task is multilabel"):
        search_schedule(student, torch.randn(2, 3, 80, 80), budget=0.5, progress=False)


@pytest.mark.parametrize(
    ("options", "words", "said"),
    [
        ({"task": "multilabel"}, [], r"is of task=multilabel instead of task=classification, .*"),
        ({"task": "multilabel"}, ["task=classification"], None),
        ({"image_size": 96}, [], r"images of 96 pixels, .* has 80 by default: add backbone\.image"),
        ({"image_size": 96}, ["backbone.image_size=80"], None),
        ({"image_size": (96, 80)}, [], None),
        ({}, [], None),
    ],
)
def test_a_default_changes_neither_task_nor_size(
    options: dict[str, object], words: list[str], said: str | None, tmp_path: Path
) -> None:
    path = saved(tmp_path / "student.safetensors", **options)  # type: ignore[arg-type]
    typed = [*words, "backbone=vit_micro", "method=evit", "rho=0.5"]
    settings = compose_config(typed, GROUPS)
    if said is None:
        check_described(str(path), settings, typed)
        return
    with pytest.raises(InputError, match=said):
        check_described(str(path), settings, typed)
