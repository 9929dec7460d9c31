"""ViTs for images of any shape: by average, latent query and class token, with or without norm."""

import pytest
import torch
from timm.models.naflexvit import NaFlexVit

from src.errors import InputError
from src.modules import sparsify
from tests.families import SequenceFamily, assert_near, make_network

SMALL = {"embed_dim": 64, "num_heads": 4, "depth": 4, "pos_embed_grid_size": (6, 6)} | {
    "num_classes": 5
}
AVERAGE = SMALL | {"global_pool": "avg", "reg_tokens": 2, "fc_norm": True}


class TestNaFlexViT(SequenceFamily):
    cases = {
        "average": (NaFlexVit, AVERAGE | {"init_values": 0.1}),
        "factorized": (
            NaFlexVit,
            AVERAGE | {"pos_embed": "factorized", "pos_embed_ar_preserving": True},
        ),
        "query": (NaFlexVit, SMALL | {"global_pool": "map", "reg_tokens": 1}),
        "class_token": (
            NaFlexVit,
            SMALL | {"class_token": True, "global_pool": "token", "final_norm": False},
        ),
    }


@torch.no_grad()
def test_images_of_any_shape():
    dense = sparsify(make_network((NaFlexVit, AVERAGE)), method="dense").eval()
    images = torch.randn(2, 3, 48, 96)
    output = dense.with_maps(images)
    assert_near(output.logits, dense.backbone(images), 1e-6)
    assert output.maps[0].shape == (2, 64, 3, 6)


def test_rotary_positions_are_refused():
    network = NaFlexVit(**AVERAGE, rope_type="axial")
    with pytest.raises(InputError, match="NaFlexVit with rotary positions"):
        sparsify(network)
