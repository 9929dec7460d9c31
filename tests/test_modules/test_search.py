"""A searched schedule keeps its budget and is no worse than the usual one of the same cost."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from src.config import instantiate
from src.datamodules.digits import DigitScenes
from src.errors import InputError
from src.modules.backbones import SparseBackbone
from src.modules.schedules import KeepSchedule
from src.modules.search.found import FoundSchedule
from src.modules.search.search import search_schedule
from src.modules.search.walks import Walker
from src.modules.student import create_student, sparsify
from tests.helpers import ROOT

pytestmark = pytest.mark.slow

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TRIALS = 14
LOCATIONS = (1, 3, 4)


@cache
def scenes() -> Tensor:
    drawn = DigitScenes(train=True, length=12, image_size=80, seed=0, mean=MEAN, std=STD)
    return torch.stack([image for image, _ in map(drawn.__getitem__, range(12))])


def make(method: str, **options: object) -> SparseBackbone:
    """Return a student on the first half of the shipped network: counting its costs takes long."""
    torch.manual_seed(0)
    network = timm.create_model("vit_micro_patch8_80", depth=6, num_classes=10)
    network.load_state_dict(load_file(ROOT / "assets/vit_micro_digits.safetensors"), strict=False)
    return sparsify(network, method=method, rho=0.5, locations=LOCATIONS, **options)


def search(student: SparseBackbone, **options: object) -> FoundSchedule:
    settings = {"budget": 0.5, "trials": TRIALS, "batch_size": 6, "progress": False} | options
    return search_schedule(student, scenes(), **settings)


@cache
def found(method: str) -> FoundSchedule:
    return search(make(method))


def divergence(student: SparseBackbone) -> float:
    dense, sparse = student.dense_copy().predict(scenes()), student.predict(scenes())
    target = dense.log_softmax(1)
    return float((target.exp() * (target - sparse.log_softmax(1))).sum(1).mean())


@pytest.mark.parametrize("method", ["evit", "tome"])
def test_the_budget_is_spent_and_what_is_reported_is_what_a_student_does(method):
    student, result = make(method), found(method)
    dense = student.dense_copy().gmacs()
    result.apply(student)
    assert student.gmacs() == pytest.approx(result.gmacs, rel=1e-9)
    assert 0.97 * 0.5 * dense <= result.gmacs <= 0.5 * dense
    assert divergence(student) == pytest.approx(result.divergence, abs=1e-5)  # tokens were cached
    assert result.images == 12
    assert 0 < result.trials <= TRIALS


def test_it_is_no_worse_than_the_usual_schedule_of_the_same_cost():
    student, result = make("evit"), found("evit")
    usual, dense = result.steps[0], student.dense_copy().gmacs()
    student.method.schedule = usual.schedule
    assert usual.schedule.locations == LOCATIONS
    assert 0.97 * 0.5 * dense <= usual.gmacs <= 0.5 * dense
    assert divergence(student) == pytest.approx(usual.divergence, abs=1e-5)
    assert result.divergence < usual.divergence
    assert [step.divergence for step in result.steps] == sorted(
        (step.divergence for step in result.steps), reverse=True
    )


def test_it_is_deterministic_and_leaves_the_student_as_it_was():
    student = make("tome").train()
    before = (student.method.schedule, student.method.r, student.method.at_locations)
    assert search(student) == found("tome")
    assert (student.method.schedule, student.method.r, student.method.at_locations) == before
    assert student.training


@pytest.mark.parametrize("method", ["tome", "evit", "mctf", "ats", "representation_shift"])
@torch.inference_mode()
def test_cached_tokens_give_what_a_new_pass_gives(method):
    student = make(method, **({"at_locations": True} if method == "tome" else {})).eval()
    walker = Walker(student, scenes().split(6))
    known = walker.run(KeepSchedule((1, 3), (0.8, 0.5)))
    other = KeepSchedule((1, 3), (0.8, 0.3))
    cached, anew = walker.run(other, known, 3), walker.run(other)
    assert cached is not None
    assert anew is not None
    assert known is not None
    torch.testing.assert_close(cached.divergence, anew.divergence, atol=1e-5, rtol=0)
    assert not torch.allclose(cached.divergence, known.divergence, atol=1e-5)
    assert divergence(student) == pytest.approx(cached.mean, abs=1e-5)


def test_what_was_learned_for_each_location_stays_there():
    student = make("cropr")
    result = search(student, trials=6)
    assert result.schedule.locations == LOCATIONS
    result.apply(student)


def test_it_is_written_and_read_again(tmp_path):
    found("tome").save(tmp_path / "schedule" / "searched.yaml")
    text = (tmp_path / "schedule" / "searched.yaml").read_text()
    assert instantiate(yaml.safe_load(text)) == found("tome").schedule
    assert "method.at_locations=true" in text


def test_tome_merges_at_its_locations_at_most_half():
    student = make("tome", at_locations=True)
    student.method.schedule = KeepSchedule((1, 4), (0.7, 0.1))
    counts = [int(step.count[0]) for step in student.eval()(scenes()[:1]).steps]
    assert counts == [70, 35]
    with pytest.raises(InputError, match=r"r=3 .*at_locations"):
        make("tome", at_locations=True, r=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 1.5}, "budget=1.5 is not a share"),
        ({"budget": None, "gmacs": 99.0}, "gmacs=99.0 is not a budget"),
        ({"budget": 0.001}, "below .* the least that EViT reaches"),
        ({"gmacs": 0.1}, "give one of them"),
        ({"budget": "0.5"}, "budget='0.5' is not a share"),
        ({"budget": None, "gmacs": "0.1"}, "gmacs='0.1' is not a budget"),
        ({"trials": 0}, "trials=0 must be a whole number from 1"),
        ({"trials": 2.5, "seed": "x"}, "trials=2.5 must be a whole number"),
        ({"batch_size": "8"}, "batch_size=8 must be a whole number"),
        ({"seed": None}, "seed=null must be a whole number"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        search(make("evit"), **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images: images[..., :40], r"has the shape \(1, 3, 80, 40\)"),
        (lambda images: images.half(), r"is of torch\.float16"),
        (lambda images: images.index_fill(0, torch.tensor([9]), torch.nan), "are not finite"),
    ],
)
def test_images_that_tell_no_schedule_from_another_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        search_schedule(make("evit"), change(scenes()), budget=0.5, trials=2, progress=False)


@pytest.mark.parametrize(("outputs", "words"), [(1, "has one output"), (0, "has no classifier")])
def test_fewer_than_two_outputs_tell_no_schedule_from_another(outputs, words):
    student = make("evit")
    student.reset_classifier(outputs)
    with pytest.raises(InputError, match=words):
        search(student, trials=2)


def test_what_cannot_be_searched_is_refused():
    with pytest.raises(InputError, match="are a list: give a tensor"):
        search_schedule(make("evit"), list(scenes()), budget=0.5)
    with pytest.raises(InputError, match="some hundreds"):
        search_schedule(make("evit"), scenes()[:0], budget=0.5)
    with pytest.raises(InputError, match="drops nothing"):
        search(make("dense"))
    with pytest.raises(InputError, match="feature map"):
        search(create_student("convnext_micro"))
    with pytest.raises(InputError, match="does not have"):
        replace(found("tome")).apply(make("evit"))
