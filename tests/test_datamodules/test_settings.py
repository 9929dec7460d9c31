"""What data modules refuse of settings: mixup without labels, too few images for a batch."""

import pytest

from src.config import compose_config, instantiate
from src.errors import InputError
from src.runs.settings import config_faults
from tests.test_configs import composed

# The values of a setting that are refused, how the sentence goes on, and values that are valid.
VALUES = {
    "mixup.label_smoothing": (["2", "-1", "1", "nan"], "a number from 0 and below 1", ["0", "0.1"]),
    "mixup.prob": (["5", "-0.1"], "a number from 0 and up to 1", ["0", "1"]),
    "mixup.switch_prob": (["9", "abc"], "a number from 0 and up to 1", ["0.5"]),
    "mixup.mode": (["foo", "null", "1"], "batch, pair or elem", ["elem", "pair", "batch"]),
    "mixup.cutmix_minmax": (
        ["[0.2,5]", "[0.8,0.2]", "0.5", "[0.2]"],
        "two numbers from 0 and up to 1, the smaller first",
        ["[0.2,0.8]", "null"],
    ),
    "mixup.mixup_alpha": (["-1", "null"], "a number from 0", ["0", "2"]),
    "mixup.cutmix_alpha": (["-1"], "a number from 0", ["0"]),
    "mixup.correct_lam": (["2"], "true or false", ["true"]),
    "mixup": (["5", "abc", "true"], "arguments of timm.data.Mixup", ["null"]),
}


@pytest.mark.parametrize("setting", VALUES)
@pytest.mark.parametrize("name", ["imagenet", "kinetics"])
def test_values_that_mean_nothing_are_refused(name: str, setting: str) -> None:
    refused, said, valid = VALUES[setting]
    start = [f"datamodule={name}", "backbone=vit_micro"]
    for value in (*refused, *valid):
        word = f"datamodule.{setting}={value}"
        found = [*config_faults(composed("train", *start, f"++{word}")).values()]
        if value in valid:
            assert not found
        else:
            assert len(found) == 1
            assert found[0].startswith(f"datamodule.{setting}=")
            assert f" must be {said}" in found[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cutmix_minmax": [0.5, 0.501]}, "low >= high"),
        ({"mixup_alpha": 0, "prob": 0}, "should be true"),
        ({"num_classes": 7}, "num_classes"),
    ],
)
def test_mixup_is_tried_on_images_of_the_right_size(options: dict[str, object], said: str) -> None:
    words = ["datamodule=digits", "backbone=vit_micro"]
    settings = compose_config(words, ["datamodule"])["datamodule"] | {"batch_size": 2}
    for seed in range(4):  # of timm's draws
        with pytest.raises(InputError, match=f"is not what timm.data.Mixup takes: .*{said}"):
            instantiate(settings | {"mixup": options, "seed": seed})
    instantiate(settings | {"mixup": {"cutmix_minmax": [0.4, 0.6]}})


@pytest.mark.parametrize(
    ("name", "said"),
    [("masks", "has mask:"), ("coco", "has boxes:"), ("digits_scenes", "has mask and boxes:")],
)
def test_mixup_of_masks_or_boxes_is_refused(name: str, said: str) -> None:
    words = [f"datamodule={name}", "backbone=vit_micro"]
    settings = compose_config(words, ["datamodule"])["datamodule"]
    instantiate(settings | {"mixup": None})
    with pytest.raises(InputError, match=f"mixes images of one label each, .*{said}"):
        instantiate(settings | {"mixup": {"mixup_alpha": 0.8}, "batch_size": 2})


def test_evaluation_does_without_a_full_batch_of_training_images() -> None:
    settings = compose_config(["datamodule=digits", "backbone=vit_micro"], ["datamodule"])
    small = {"train_images": 4, "batch_size": 8, "mixup": None}
    data = instantiate(settings["datamodule"] | small)
    data.check("test")
    with pytest.raises(InputError, match="train_images=4"):
        data.check("fit")
