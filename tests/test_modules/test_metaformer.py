"""MetaFormers: pooling, convolution and attention as mixers, norms over all positions or each."""

from timm.layers import GroupNorm1
from timm.models.metaformer import (
    Attention,
    GroupNorm1NoBias,
    LayerNorm2dNoBias,
    LayerNormNoBias,
    MetaFormer,
    Pooling,
    SepConv,
)
from torch import nn

from tests.families import SpatialFamily

SMALL = {"depths": (1, 1, 6, 1), "dims": (8, 16, 32, 64), "num_classes": 5}


class TestMetaFormer(SpatialFamily):
    cases = {
        "poolformer": (
            MetaFormer,
            SMALL
            | {"token_mixers": Pooling, "norm_layers": GroupNorm1, "mlp_act": nn.GELU}
            | {"layer_scale_init_values": 0.1, "res_scale_init_values": None}
            | {"mlp_bias": True, "use_mlp_head": False, "downsample_norm": None},
        ),
        "poolformer_v2": (MetaFormer, SMALL | {"norm_layers": GroupNorm1NoBias}),
        "convformer": (
            MetaFormer,
            SMALL | {"token_mixers": SepConv, "norm_layers": LayerNorm2dNoBias},
        ),
        "caformer": (
            MetaFormer,
            SMALL
            | {"token_mixers": [SepConv, SepConv, Attention, Attention]}
            | {"norm_layers": [LayerNorm2dNoBias] * 2 + [LayerNormNoBias] * 2},
        ),
    }
