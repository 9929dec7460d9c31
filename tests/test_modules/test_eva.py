"""Eva networks that norm what leaves a block, and those whose queries share keys."""

from tests.families import SequenceFamily

SMALL = {"embed_dim": 64, "num_heads": 4, "depth": 4, "img_size": 64, "num_classes": 5}


class TestEva(SequenceFamily):
    cases = {
        "norm_of_output": (
            "eva02_tiny_patch14_224",
            SMALL | {"use_post_norm": True, "patch_size": 16},
        ),
        "grouped_queries": (
            "vit_small_patch16_dinov3",
            SMALL | {"num_kv_heads": 2, "attn_type": "rope", "qkv_fused": False},
        ),
        "mixed": ("vit_small_patch16_rope_mixed_224", SMALL),
        "mixed_any_size": (
            "vit_small_patch16_rope_mixed_ape_224",
            SMALL | {"img_size": (48, 80), "dynamic_img_size": True},
        ),
    }
