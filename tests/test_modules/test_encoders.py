"""Classifiers around the vision encoders of language models."""

import pytest
import timm

from src.errors import InputError
from src.modules import sparsify
from tests.families import SequenceFamily

pytest.importorskip("timm.models.deepseek_vit")
SMALL = {"embed_dim": 64, "num_heads": 4, "depth": 4, "img_size": 64, "num_classes": 5}


class TestEncoder(SequenceFamily):
    cases = {
        "qwen3": ("qwen3_vit_88m", SMALL),
        "deepseek": ("deepseek_vit_412m", SMALL | {"patch_size": 16}),
    }


def test_a_projector_that_joins_patches_is_refused():
    network = timm.create_model("qwen3_vit_88m_merge", **SMALL)
    with pytest.raises(InputError, match="encoder_pool='merge' joins squares"):
        sparsify(network)
