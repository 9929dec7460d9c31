"""What data modules refuse of settings: mixup without labels, too few images for a batch."""

import pytest
from omegaconf import OmegaConf

from src.config import CONF, compose_config, instantiate
from src.errors import InputError
from src.ranges import Text
from src.runs.declared import allowed_values
from src.runs.settings import config_faults
from src.shell.arguments import for_hydra
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
    "scale": (
        ["0.5", "[a,b]", "null", "[0.5,2]", "[1.0,0.5]"],
        "two numbers above 0 and up to 1, the smaller first",
        ["[0.5,1]", "[1,1]"],
    ),
    "image_size": (["-4", "abc", "null", "0.5", "[64,64]"], "a whole number from 1", ["64"]),
    "seed": (["-1", "abc", "null"], "a whole number from 0", ["7"]),
    "network": (["5", "null"], "text, as 'deit_small_patch16_224'", ["vit_micro_patch8_80"]),
}


# The same for settings that one kind of data has.
OF_PHOTOS = {
    "crop_pct": (["abc", "true", "90", "0"], "a number above 0 and up to 1", ["null", "1"]),
    "color_jitter": (["abc", "-1"], "a number from 0", ["null", "0.4"]),
    "train_split": (["null", "[a]"], "text, as 'train'", ["'2024'"]),
    "val_split": (["null", "2024"], "text, as 'val'", ["'2024'"]),
    "dataset": (["5"], "text, as 'wds/photographs'", ["null"]),
    "num_classes": (["abc", "0", "1.5"], "a whole number from 1", ["null", "7"]),
    "image_key": (["5"], "text, as 'image'", ["null"]),
    "label_key": (["5"], "text, as 'label'", ["null"]),
}
OF_VIDEOS = {
    "ratio": (["abc", "[2,1]", "[0,1]"], "two numbers above 0, the smaller first", ["[3,3]"]),
    "views": (["3", "null"], "of the form {clips: 1, crops: 1}", ["{clips:2,crops:1}"]),
}
OF_CSV = {
    "train_csv": (["null", "2024"], "text, as 'train.csv'", ["'2024'"]),
    "val_csv": (["null"], "text, as 'val.csv'", ["'2024'"]),
}
OF_MASKS = {
    "reduce_zero_label": (["5"], "true or false", ["true"]),
    "val_split": (["null"], "text, as 'validation'", ["'2024'"]),
    "image_size": (["-4", "abc", "null", "0.5", "[64,64]"], "a whole number from 1", ["64"]),
}
OF_BOXES = {
    "clip_boxes": (["5"], "true or false", ["true"]),
    "drop_empty_boxes": (["5"], "true or false", ["true"]),
    "train_split": (["null"], "text, as 'train2017'", ["'2024'"]),
}
CASES = [
    (name, setting, *values[setting])
    for name, values in (
        ("imagenet", VALUES | OF_PHOTOS),
        ("kinetics", VALUES | OF_VIDEOS),
        ("labels_csv", OF_CSV),
        ("masks", OF_MASKS),
        ("coco", OF_BOXES),
    )
    for setting in values
]


@pytest.mark.parametrize(("name", "setting", "refused", "said", "valid"), CASES)
def test_values_that_mean_nothing_are_refused(
    name: str, setting: str, refused: list[str], said: str, valid: list[str]
) -> None:
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


@pytest.mark.parametrize("key", ["image_size", "seed"])
def test_a_value_that_another_setting_follows_is_refused_once(key: str) -> None:
    origin = {"image_size": "backbone.image_size", "seed": "seed"}[key]
    start = ["datamodule=imagenet", "backbone=vit_micro"]
    assert [*config_faults(composed("train", *start, f"{origin}=-4"))] == [origin]
    both = [f"{origin}=-4", f"datamodule.{key}=-5"]
    assert {*config_faults(composed("train", *start, *both))} == {origin, f"datamodule.{key}"}


OPTIONS = sorted(path.stem for path in (CONF / "datamodule").glob("*.yaml"))


@pytest.mark.parametrize("name", OPTIONS)
def test_what_is_typed_for_a_text_is_text(name: str) -> None:
    start = [f"datamodule={name}", "backbone=vit_micro"]
    declared = allowed_values(composed("train", *start))
    keys = [key for key, allowed in declared.items() if isinstance(allowed, Text)]
    keys.remove("datamodule.network")  # no network's name is a number
    config = composed("train", *start, *for_hydra([f"++{key}=2024" for key in keys]))
    assert all(OmegaConf.select(config, key) == "2024" for key in keys)


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
