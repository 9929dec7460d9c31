"""Defines LV-ViT (Jiang et al. 2021, arXiv:2104.10858), which timm lacks."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from timm.layers import PatchEmbed
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError

AUXILIARY_WEIGHT = 0.5  # of each class's best patch logit, which is added to the class token's


class LVStem(PatchEmbed):
    """Embeds patches of 16 pixels by four convolutions, which also see their surroundings."""

    def __init__(
        self, *, in_chans: int = 3, embed_dim: int = 384, width: int = 64, **options: Any
    ) -> None:
        """Take `PatchEmbed`'s arguments, and the `width` of the inner convolutions in channels."""
        super().__init__(in_chans=in_chans, embed_dim=embed_dim, **options)
        self.in_chans = in_chans
        self.conv1 = nn.Conv2d(in_chans, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.proj = nn.Conv2d(width, embed_dim, 8, stride=8)

    def forward(self, x: Tensor) -> Tensor:
        """Embed images `(B, 3, S, S)` to `(B, N, C)`, or `(B, H, W, C)` where any size is taken."""
        if self.strict_img_size and tuple(x.shape[-2:]) != self.img_size:
            raise InputError(
                f"Images of {x.shape[-1]}x{x.shape[-2]} pixels do not fit this LV-ViT, which takes "
                f"{self.img_size[1]}x{self.img_size[0]}."  # type: ignore[index]
            )
        if self.dynamic_img_pad:
            bottom, right = (-side % 16 for side in x.shape[-2:])
            x = F.pad(x, (0, right, 0, bottom))
        x = x.contiguous(memory_format=torch.channels_last)  # faster, and the layout of tokens
        x = normed_convolution(x, self.conv1, self.bn1)
        x = normed_convolution(x, self.conv2, self.bn2)
        x = normed_convolution(x, self.conv3, self.bn3)
        x = self.proj(x)
        return x.flatten(2).transpose(1, 2) if self.flatten else x.permute(0, 2, 3, 1)


def normed_convolution(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Apply convolution, batch norm and ReLU; in eval mode the norm is folded into the weights."""
    if norm.training or type(conv) is not nn.Conv2d:  # an adapter in its place
        return F.relu(norm(conv(x)), inplace=True)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight = conv.weight * scale.view(-1, 1, 1, 1)
    bias = norm.bias - norm.running_mean * scale
    x = F.conv2d(x, weight, bias, conv.stride, conv.padding)  # type: ignore[arg-type]
    return F.relu(x, inplace=True)


class ResidualScale(nn.Module):
    """Scales a residual branch by a constant."""

    def __init__(self, factor: float) -> None:
        """Keep the `factor`."""
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` times the factor."""
        return x * self.factor


class LVViT(VisionTransformer):
    """Classifies by the class token and by every patch of a vision transformer.

    Modifications of timm's: convolutional stem, scaled residual branches, no bias on query, key
    and value, MLPs three times as wide, an auxiliary head for patches. Weights are named as in the
    authors' checkpoints.
    """

    def __init__(self, residual_scale: float = 0.5, **options: Any) -> None:
        """Take `VisionTransformer`'s arguments; branches are scaled before they are added."""
        own: dict[str, Any] = {"mlp_ratio": 3.0, "qkv_bias": False, "embed_layer": LVStem}
        own["norm_layer"] = partial(nn.LayerNorm, eps=1e-5)
        super().__init__(**own | options)
        for block in self.blocks:
            block.ls1 = block.ls2 = ResidualScale(residual_scale)
        self.aux_head = self._new_head()

    def _new_head(self) -> nn.Module:
        if not self.num_classes:
            return nn.Identity()
        head = nn.Linear(self.embed_dim, self.num_classes).to(self.pos_embed)
        nn.init.trunc_normal_(head.weight, std=0.02)
        nn.init.zeros_(head.bias)
        return head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the heads of class token and patches by new ones."""
        super().reset_classifier(num_classes, global_pool)
        self.aux_head = self._new_head()

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Add half of each class's best patch logit to the class token's logits."""
        logits = super().forward_head(x, pre_logits)
        if pre_logits or not self.num_classes:
            return logits
        return logits + AUXILIARY_WEIGHT * self.aux_head(x[:, 1:]).amax(dim=1)


default_cfgs = generate_default_cfgs(
    {
        name: {
            "num_classes": 1000,
            "input_size": (3, 224, 224),
            "pool_size": None,
            "crop_pct": 0.9,
            "interpolation": "bicubic",
            "fixed_input_size": True,
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "first_conv": "patch_embed.conv1",
            "classifier": ("head", "aux_head"),
        }
        for name in ("lvvit_s", "lvvit_m")
    }
)


@register_model
def lvvit_s(pretrained: bool = False, **options: Any) -> LVViT:
    """Build sixteen blocks of 384 channels and 6 heads: 26.2 M parameters, 83.3 % top-1."""
    shape = {"embed_dim": 384, "depth": 16, "num_heads": 6}
    return build_model_with_cfg(LVViT, "lvvit_s", pretrained, **{**shape, **options})


@register_model
def lvvit_m(pretrained: bool = False, **options: Any) -> LVViT:
    """Build twenty blocks of 512 channels and 8 heads: 55.8 M parameters, 84.0 % top-1."""
    shape = {"embed_dim": 512, "depth": 20, "num_heads": 8}
    return build_model_with_cfg(LVViT, "lvvit_m", pretrained, **{**shape, **options})
