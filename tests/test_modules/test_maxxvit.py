"""CoAtNet and MaxViT: each attention of the third stage has an MLP of two paths."""

from __future__ import annotations

import pytest

from src.errors import InputError
from src.modules import sparsify
from tests.families import SpatialFamily, make_network, timm_is_older_than

SMALL = {
    "embed_dim": (16, 16, 32, 32),
    "stem_width": 16,
    "transformer_dim_head": 8,
    "num_classes": 5,
}
MAX = SMALL | {
    "depths": (1, 1, 4, 1),
    "img_size": 64,
    "transformer_window_size": 2,
    "transformer_grid_size": 2,
}
COAT = SMALL | {"depths": (1, 1, 6, 1), "img_size": 64}


OLD_TIMM = timm_is_older_than("1.0.31")


@pytest.mark.skipif(OLD_TIMM, reason="MaxxViT networks know their image size from timm 1.0.31 on")
class TestMaxxVit(SpatialFamily):
    cases = {
        "maxvit": ("maxvit_rmlp_pico_rw_256", MAX),
        "maxvit_tensorflow": ("maxvit_tiny_tf_224", MAX),
        "maxxvit": ("maxxvit_rmlp_nano_rw_256", MAX),
        "maxxvit_v2": ("maxxvitv2_nano_rw_256", MAX),
        "coatnet": ("coatnet_0_rw_224", COAT),
        "coatnet_mlp": ("coatnet_rmlp_1_rw_224", COAT),
        "coatnext": ("coatnext_nano_rw_224", COAT),
    }


@pytest.mark.skipif(not OLD_TIMM, reason="of timm before 1.0.31")
def test_a_network_that_does_not_know_its_image_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"sparsify it with timm 1\.0\.31 or newer"):
        sparsify(make_network(("maxvit_rmlp_pico_rw_256", MAX)))
