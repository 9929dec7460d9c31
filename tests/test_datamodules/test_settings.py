"""What data modules refuse of settings: mixup without labels, too few images for a batch."""

import pytest

from src.config import compose_config, instantiate
from src.errors import InputError


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
