"""ViTs with relative positions alone, by table or by MLP, shared or each block's own."""

from tests.families import SequenceFamily

SMALL = {"embed_dim": 64, "num_heads": 4, "depth": 4, "img_size": 64, "num_classes": 5}


class TestRelPos(SequenceFamily):
    cases = {
        "mlp": ("vit_relpos_small_patch16_224", SMALL),
        "shared": ("vit_srelpos_small_patch16_224", SMALL),
        "class_token": ("vit_relpos_medium_patch16_cls_224", SMALL),
        "norm_of_output": ("vit_relpos_medium_patch16_rpn_224", SMALL),
        "table": ("vit_relpos_small_patch16_224", SMALL | {"rel_pos_type": "bias"}),
        "swin": ("vit_relpos_small_patch16_224", SMALL | {"rel_pos_type": "mlp-swin"}),
        "fc_norm": ("vit_relpos_base_patch16_clsgap_224", SMALL | {"img_size": (48, 80)}),
    }
