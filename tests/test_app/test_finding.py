"""What the app says of an image, by value."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from src.app.finding import look, read_image
from src.app.subjects import Subject, named_subject
from src.datamodules.digits import DigitScenes
from src.errors import InputError
from src.measure.complexity import count_gmacs


@pytest.fixture(scope="module")
def subject() -> Subject:
    return named_subject("vit_micro")


@pytest.fixture(scope="module")
def image() -> Image.Image:
    scenes = DigitScenes(
        train=False, length=9, image_size=80, seed=0, mean=(0, 0, 0), std=(1, 1, 1)
    )
    pixels = 255 * scenes.scene(3).image.transpose(1, 2, 0)
    return Image.fromarray(pixels.astype("uint8"))


@pytest.mark.parametrize(("method", "rho"), [("attention_absorb", 0.5), ("attention", 0.8)])
def test_a_finding(subject: Subject, image: Image.Image, method: str, rho: float) -> None:
    finding = look(subject, image, rho, method)
    student = subject.student(method)
    images = student.preprocessing.transform()(image)[None]
    with torch.inference_mode():
        output = student(images)
        dense = student.backbone(images).softmax(1)[0]
    assert student.rho == rho
    counts = [int(step.count[0]) for step in output.steps]
    assert [left.count for left in finding.left] == counts
    assert counts[0] == round(100 * rho)
    size = student.image_size
    assert finding.gmacs == (count_gmacs(student, size), count_gmacs(student.backbone, size))
    assert len(finding.guesses) == 5
    for guess in finding.guesses:
        assert guess.dense == pytest.approx(float(dense[int(guess.name)]), abs=1e-6)
    assert finding.guesses[0].name == "9"
    assert min(finding.milliseconds) > 0


def test_the_dense_method_says_that_rho_changes_nothing(
    subject: Subject, image: Image.Image
) -> None:
    finding = look(subject, image, 0.5, "dense")
    assert "changes nothing" in finding.notes[0]
    assert finding.gmacs[0] == finding.gmacs[1]


def test_images_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no image yet"):
        read_image(None)
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    with pytest.raises(InputError, match=r"broken\.png cannot be read as an image"):
        read_image(broken)


def test_only_methods_that_need_no_training_are_offered(subject: Subject) -> None:
    assert "attention_absorb" in subject.methods
    assert not {"dynamicvit", "query_absorb", "asymmetric"} & set(subject.methods)
