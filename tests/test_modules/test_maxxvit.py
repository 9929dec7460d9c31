"""CoAtNet and MaxViT: each attention of the third stage has an MLP of two paths."""

from tests.families import SpatialFamily

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
