"""XCiT: attention among channels and local interaction stay dense, MLPs take two paths."""

from tests.families import SpatialFamily

SMALL = {"embed_dim": 32, "num_heads": 4, "depth": 6, "img_size": 64, "num_classes": 5}


class TestXcit(SpatialFamily):
    cases = {
        "patches_of_16": ("xcit_nano_12_p16_224", SMALL),
        "patches_of_8": ("xcit_small_24_p8_224", SMALL | {"img_size": 32}),
        "tokens_norm": ("xcit_small_12_p16_224", SMALL),
    }
