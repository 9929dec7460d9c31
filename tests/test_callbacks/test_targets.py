"""What a task learns from, what the data has, and what an evaluation can write of it."""

import csv
import logging
from types import SimpleNamespace

import pytest
import torch

from src.callbacks.disagreement import Disagreement
from src.callbacks.position_map import ClassMap, PositionMap, distinct
from src.config import compose_config
from src.datamodules.digits import Digits
from src.errors import InputError
from src.modules.backbones.output import SparseOutput, Step
from src.modules.classification import SparseClassifier
from src.modules.segmentation import SparseSegmenter
from src.runs.settings import check_target


def refusal(module, data):
    with pytest.raises(InputError) as error:
        check_target(module, data)
    return str(error.value)


def test_a_target_from_outside_is_named():
    class Labels(SparseClassifier.__base__):
        target = "labels"
        target_words = {"labels": "several classes for each image"}

    class Depth(SparseClassifier.__base__):
        target = "depth"

    class Sets(Digits):
        targets = ("labels", "depth")

    check_target(Labels, Sets)
    check_target(Depth, Sets)
    check_target(SparseClassifier, Digits)
    assert (
        "learns from several classes for each image, but the data has a class for each image"
        in (refusal(Labels, Digits))
    )
    assert "learns from depth, but the data has a class for each image" in refusal(Depth, Digits)
    assert "but the data has labels and depth" in refusal(SparseClassifier, Sets)
    assert "learns from a class for each pixel" in refusal(SparseSegmenter, Digits)


@pytest.mark.parametrize("output", [PositionMap, ClassMap, Disagreement])
def test_outputs_by_label_are_refused_for_other_targets_and_several_processes(output):
    one, two = SimpleNamespace(world_size=1), SimpleNamespace(world_size=2)
    several = SimpleNamespace(target="labels", target_words={"labels": "several classes"})
    for module, words in (
        (SparseSegmenter, "a class for each pixel"),
        (several, "several classes"),
    ):
        with pytest.raises(
            InputError, match=f"{output.setting}=file is for images with one label.*{words}"
        ):
            output("file").prepare(one, module, None)
    with pytest.raises(InputError, match=f"{output.setting}=file .* add trainer.devices=1"):
        output("file").prepare(two, SparseClassifier, None)


def test_names_that_classes_share_are_told_apart():
    assert distinct({3: "crane", 7: "crane", 8: "dog"}) == {
        3: "crane (3)",
        7: "crane (7)",
        8: "dog",
    }
    made = distinct({1: "crane", 2: "crane", 3: "crane (1)"})
    assert len(set(made.values())) == 3


def test_a_class_map_keeps_classes_of_one_name(tmp_path):
    """Each class's own shares are in the csv, those of the two cranes too."""
    callback = ClassMap(str(tmp_path / "map.png"), {0: "crane", 1: "crane", 2: "dog"}.__getitem__)
    module = SimpleNamespace(
        student=SimpleNamespace(method=SimpleNamespace(schedule=SimpleNamespace(locations=(3,))))
    )
    kept = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0]])
    step = Step(3, 0.25, keep=kept, count=kept.sum(1))
    features = torch.zeros(3, 1, 4)
    output = SparseOutput(torch.zeros(3, 3), features, torch.ones(3, 1), (step,), grid=(2, 2))
    callback.on_test_start(None, module)
    callback.on_test_batch_end(
        None, module, {"output": output}, (torch.zeros(3, 3, 8, 8), torch.arange(3)), 0
    )
    callback.on_test_end(SimpleNamespace(is_global_zero=True), module)
    with (tmp_path / "map.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shares = {name: [] for name in ("crane (0)", "crane (1)", "dog")}
    for row in rows:
        shares[row["class"]].append(float(row["share"]))
    assert list(shares.values()) == kept.tolist()


def test_one_class_is_always_right_and_said(caplog):
    keys = ("backbone", "method", "schedule", "loss", "optimizer")
    parts = compose_config(["backbone=vit_micro", "backbone.weights=null"], keys)
    with caplog.at_level(logging.WARNING):
        module = SparseClassifier(num_classes=1, **parts)
    assert "The data has one class" in caplog.text
    assert module.validation_metrics() == ["val/acc1"]
    module.eval()._evaluate("val", (torch.randn(3, 3, 80, 80), torch.zeros(3, dtype=torch.long)))
    assert module.metrics["val_split"].compute() == {"acc1": 1.0}
