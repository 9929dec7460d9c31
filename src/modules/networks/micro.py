"""Registers with timm a vision transformer of 1.45 M parameters for 80-pixel images."""

from __future__ import annotations

from typing import Any

from timm.layers import PatchEmbed
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import nn


class ConvStem(PatchEmbed):
    """Embeds patches of 8 pixels by three 5x5 convolutions, which see 29 pixels.

    Convolutional stem after LV-ViT (Jiang et al. 2021, arXiv:2104.10858): three
    convolutions with batch norm, then a projection. It takes 9 % of the network's MACs.
    """

    def __init__(self, *, in_chans: int = 3, embed_dim: int = 96, **options: Any) -> None:
        """Take `PatchEmbed`'s arguments and replace its projection."""
        super().__init__(in_chans=in_chans, embed_dim=embed_dim, **options)
        narrow, middle = embed_dim // 6, embed_dim // 3
        self.proj = nn.Sequential(  # type: ignore[assignment]
            *_convolution(in_chans, narrow),
            *_convolution(narrow, middle),
            *_convolution(middle, embed_dim),
            nn.Conv2d(embed_dim, embed_dim, 1),
        )


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 5, stride=2, padding=2, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.GELU()


default_cfgs = generate_default_cfgs(
    {
        "vit_micro_patch8_80": {
            "num_classes": 10,
            "input_size": (3, 80, 80),
            "pool_size": None,
            "crop_pct": 1.0,
            "interpolation": "bicubic",
            "fixed_input_size": True,
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "first_conv": "patch_embed.proj.0",
            "classifier": "head",
        }
    }
)


@register_model
def vit_micro_patch8_80(pretrained: bool = False, **options: Any) -> VisionTransformer:
    """Build twelve blocks of 96 channels and 3 heads over 100 patches, a class token."""
    shape = {"img_size": 80, "patch_size": 8, "embed_dim": 96, "depth": 12, "num_heads": 3}
    return build_model_with_cfg(
        VisionTransformer,
        "vit_micro_patch8_80",
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        embed_layer=ConvStem,
        **{**shape, **options},
    )
