"""Students are compared on images and labels that are theirs, and kept predictions on the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from src import create_student
from src.bench.frontier.evaluation import Evaluated, Images, evaluate_cells
from src.bench.frontier.plan import Cell
from src.datamodules.normalization import Normalization
from src.datamodules.preprocessing import Preprocessing
from src.modules.backbones.base import SparseBackbone

PLACE = torch.device("cpu"), torch.float32


@pytest.fixture(scope="module")
def student() -> SparseBackbone:
    return create_student("vit_micro", method="evit", num_classes=2)


def images_of(student: SparseBackbone, seed: int = 0) -> Images:
    pixels = torch.rand(2, 3, 80, 80, generator=torch.Generator().manual_seed(seed))
    ready = student.preprocessing
    return Images(
        pixels, torch.tensor([0, 1]), ("ant", "bee"), Normalization(ready.mean, ready.std)
    )


def compared(folder: Path, images: Images, *students: SparseBackbone) -> Evaluated:
    cells = [Cell(f"c{n}", None, {}, lambda one=one: one) for n, one in enumerate(students)]
    return evaluate_cells(cells, images, 2, PLACE, folder, {})


def test_classes_in_another_order_are_refused(tmp_path: Path, student: SparseBackbone) -> None:
    other = create_student("vit_micro", method="evit", num_classes=2)
    for names, said in ((("bee", "ant"), True), (("ant", "cow"), True), (("ant", "bee"), False)):
        other.class_names = names
        failures = compared(tmp_path, images_of(student), student, other).failures
        assert ("c1" in failures) == said
        assert not said or "the data's are ant, bee" in failures["c1"]


def test_another_normalization_is_refused(tmp_path: Path, student: SparseBackbone) -> None:
    other = create_student("vit_micro", method="evit", num_classes=2)
    ready = other.preprocessing.as_dict()
    other.preprocessing = Preprocessing.checked(ready | {"mean": [0.1, 0.2, 0.3]}, "here")
    failures = compared(tmp_path, images_of(student), student, other).failures
    assert "normalized by mean [0.1, 0.2, 0.3]" in failures["c1"]


def test_predictions_of_other_images_are_not_taken(
    tmp_path: Path, student: SparseBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where photographs were replaced in a folder of the same name."""
    done: list[float] = []

    def predict(network: object, images: Images, *_: object) -> list[int]:
        done.append(float(images.pixels.sum()))
        return [0] * len(images)

    monkeypatch.setattr("src.bench.frontier.evaluation.predict", predict)
    one, other = images_of(student), images_of(student, seed=1)
    for images in (one, one, other, Images(other.pixels, 1 - other.labels)):
        compared(tmp_path, images, student)
    assert len(done) == 3
