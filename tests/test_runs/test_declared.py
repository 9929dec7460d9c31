"""What takes a setting declares its values: the checks know no class by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import pytest
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging
from omegaconf import OmegaConf

from src.config import instantiate
from src.modules.backbones import SparseBackbone
from src.modules.schedules import KeepSchedule
from src.ranges import ExistingFile, Kind, Listing, Number, Pair, Replaced
from src.runs.settings import config_faults
from src.runs.unused_settings import unused_settings
from tests.test_configs import composed


class Part(Callback):
    """Declares what a class may."""

    ranges = {"size": Number(3, least=1, whole=True)}
    replaced = {"size": Replaced("callbacks.part.width", "callbacks.part.width is taken")}

    def __init__(self, size: int, width: int | None = None) -> None:
        self.size, self.width = size, width

    @staticmethod
    def no_effect(student: SparseBackbone) -> str:
        return "" if student.method.schedule.locations == (2, 5, 8) else "it is elsewhere"


class Smaller(Part):
    """Has its base's ranges."""


class OwnAverage(EMAWeightAveraging):
    """Has the ranges of its library's class."""


def only_first(rho: float, locations: Annotated[Sequence[int], Listing("[1,2]")]) -> KeepSchedule:
    return KeepSchedule(tuple(locations[:1]), (rho,), rho)


def faults(*words: str) -> list[str]:
    return list(config_faults(composed("train", "backbone=vit_micro", *words)).values())


def with_part(kind: type, **settings: object) -> list[str]:
    return [
        f"+callbacks.part._target_={__name__}.{kind.__name__}",
        *(f"+callbacks.part.{key}={value}" for key, value in settings.items()),
    ]


@pytest.mark.slow
def test_a_part_from_outside_is_checked() -> None:
    sentence = "callbacks.part.size=0 must be a whole number from 1, as 3."
    assert faults(*with_part(Part, size=0)) == [sentence]
    assert faults(*with_part(Smaller, size=0)) == [sentence]
    assert not faults(*with_part(Part, size=2))
    assert "decay=2 must be a number" in faults(*with_part(OwnAverage, decay=2))[0]
    schedule = (f"schedule._target_={__name__}.only_first", "schedule.locations=4")
    assert faults(*schedule) == ["schedule.locations=4 must be a list, as [1,2]."]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_part_from_outside_says_what_has_no_effect() -> None:
    typed = with_part(Part, size=2, width=4)
    for words, reason in (
        ((), "callbacks.part.width is taken"),
        (("schedule.locations=[1,2,3]",), "it is elsewhere"),
    ):
        config = composed("train", "backbone=vit_micro", *typed, *words)
        settings: Any = OmegaConf.to_container(config, resolve=True)
        module = instantiate(settings["task"], num_classes=10)
        found = unused_settings(config, module, typed)
        assert f"callbacks.part.size has no effect: {reason}." in found


def test_sentences_of_values() -> None:
    pair = Pair("[0.9,0.99]", Number(0.9, least=0, below=1))
    for allowed, value, sentence in (
        (pair, [0.9, 1], "k=[0.9, 1] must be two numbers from 0 and below 1, as [0.9,0.99]."),
        (pair, [0.9], "k=[0.9] must be two numbers from 0 and below 1, as [0.9,0.99]."),
        (pair, [0, 0.99], ""),
        (Number(2, optional=True), None, ""),
        (Number(2, above=1), 1, "k=1 must be a number above 1, as 2."),
        (Kind(bool, "true or false"), None, "k=null must be true or false."),
        (ExistingFile("a list", instead="all"), "all", ""),
        (ExistingFile("a list"), "no.txt", "k=no.txt is not a file: give the path of a list."),
    ):
        assert allowed.fault("k", value) == sentence


@pytest.mark.parametrize(
    ("setting", "refused", "said", "valid"),
    [
        ("trainer.gradient_clip_val", ["-1", "nan", "true"], "a number from 0", ["0", "null"]),
        ("trainer.check_val_every_n_epoch", ["0", "-1"], "a whole number from 1", ["2", "null"]),
        ("trainer.val_check_interval", ["0", "0.0"], "a share of an epoch", ["0.5", "3", "null"]),
        ("trainer.log_every_n_steps", ["a", "-1", "nan"], "a whole number from 0", ["0"]),
        ("trainer.min_epochs", ["a", "-1", "1.5"], "a whole number from 0", ["2", "null"]),
        ("trainer.min_steps", ["a", "-1"], "a whole number from 0", ["2", "null"]),
        ("trainer.max_steps", ["a", "nan", "1.5", "-2"], "a whole number from -1", ["-1", "5"]),
        ("trainer.num_sanity_val_steps", ["a", "-5"], "a whole number from -1", ["-1", "2"]),
        ("loss.classification.smoothing", ["1", "2", "-1"], "from 0 and below 1", ["0", "0.1"]),
    ],
)
def test_values_that_mean_nothing_are_refused(
    setting: str, refused: list[str], said: str, valid: list[str]
) -> None:
    for value in refused:
        (sentence,) = faults(f"++{setting}={value}")
        assert sentence.startswith(f"{setting}=")
        assert " must be " in sentence
        assert said in sentence
    for value in valid:
        assert not faults(f"++{setting}={value}")
