"""Defines a vision transformer of images that classifies clips frame by frame."""

from __future__ import annotations

from typing import Any

import timm
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor

from ...errors import InputError


class FramesViT(VisionTransformer):
    """Classifies a clip by the mean of its frames' logits, each frame an image by itself.

    The head is linear, so that these are also the logits of the frames' mean features. Weights are
    named as in timm's `VisionTransformer`; attention stays within a frame.
    """

    def __init__(self, num_frames: int = 8, **options: Any) -> None:
        """Take `VisionTransformer`'s arguments; a clip has `num_frames`.

        Raises:
            InputError: If `num_frames` is not a whole number from 1.
        """
        if not isinstance(num_frames, int) or num_frames < 1:
            raise InputError(f"backbone.num_frames={num_frames} is not a whole number from 1.")
        super().__init__(**options)
        self.num_frames = num_frames

    def forward(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        """Classify clips `(B, 3, T, H, W)`; further arguments are timm's."""
        logits = super().forward(frames_of(x, self.num_frames), *args, **options)
        return logits.unflatten(0, (-1, self.num_frames)).mean(dim=1)


def frames_of(clips: Tensor, count: int) -> Tensor:
    """Return the frames `(B T, 3, H, W)` of clips `(B, 3, T, H, W)`, those of a clip together.

    Raises:
        InputError: If they do not have `count` frames.
    """
    if clips.ndim != 5 or clips.shape[2] != count:
        raise InputError(
            f"An input of shape {tuple(clips.shape)} is not a batch of clips (B, 3, T, H, W) "
            f"with {count} frames, which this network takes."
        )
    return clips.transpose(1, 2).flatten(0, 1)


# The network whose weights each of ours starts from: DeiT, trained on images.
_OF = {
    f"frames_vit_{size}_patch16_224": f"deit_{size}_patch16_224.fb_in1k"
    for size in ("tiny", "small", "base")
}
default_cfgs = generate_default_cfgs(
    {
        f"{name}.fb_in1k": facts.to_dict()
        for name, image in _OF.items()
        if (facts := timm.get_pretrained_cfg(image))
    }
)


def _build(name: str, pretrained: bool, shape: dict[str, int], options: dict[str, Any]) -> Any:
    return build_model_with_cfg(
        FramesViT,
        name,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        **{**shape, **options},
    )


@register_model
def frames_vit_tiny_patch16_224(pretrained: bool = False, **options: Any) -> FramesViT:
    """Build DeiT-T for each frame: twelve blocks of 192 channels and 3 heads."""
    shape = {"embed_dim": 192, "depth": 12, "num_heads": 3}
    return _build("frames_vit_tiny_patch16_224", pretrained, shape, options)


@register_model
def frames_vit_small_patch16_224(pretrained: bool = False, **options: Any) -> FramesViT:
    """Build DeiT-S for each frame: twelve blocks of 384 channels and 6 heads."""
    shape = {"embed_dim": 384, "depth": 12, "num_heads": 6}
    return _build("frames_vit_small_patch16_224", pretrained, shape, options)


@register_model
def frames_vit_base_patch16_224(pretrained: bool = False, **options: Any) -> FramesViT:
    """Build DeiT-B for each frame: twelve blocks of 768 channels and 12 heads."""
    shape = {"embed_dim": 768, "depth": 12, "num_heads": 12}
    return _build("frames_vit_base_patch16_224", pretrained, shape, options)
