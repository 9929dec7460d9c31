"""A network of a fixed size is given images of that size."""

from __future__ import annotations

import pytest

from src.config import compose_config, instantiate
from src.errors import InputError
from src.runs.settings import check_image_size
from tests.helpers import SHALLOW


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        (["backbone=vit_micro", *SHALLOW], False),
        (["backbone=vit_micro", "datamodule.image_size=96", *SHALLOW], True),
        (["backbone=vit_micro", "backbone.image_size=96", *SHALLOW], False),
        (
            [
                "backbone=vit_micro",
                "datamodule.image_size=96",
                "+backbone.options.dynamic_img_size=true",
                *SHALLOW,
            ],
            False,
        ),
        (["backbone=swin_micro", "datamodule.image_size=96"], True),
        (["backbone=convnext_micro", "datamodule.image_size=96"], False),
        (["task=segmentation", "backbone=vit_micro", "datamodule.image_size=96"], False),
    ],
)
def test_a_size_that_does_not_fit_is_one_sentence(words: list[str], refused: bool) -> None:
    parts = compose_config([*words, "backbone.weights=null"], ["task", "datamodule"])
    data = instantiate(parts["datamodule"])
    module = instantiate(parts["task"], num_classes=10)
    if not refused:
        check_image_size(module, data)
        return
    with pytest.raises(InputError, match=r"image_size=96 is not the size of 80 pixels") as caught:
        check_image_size(module, data)
    assert len(caught.value.sentences) == 1
