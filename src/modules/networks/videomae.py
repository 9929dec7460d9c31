"""Defines VideoMAE's encoder (Tong et al., NeurIPS 2022, arXiv:2203.12602), which timm lacks."""

from __future__ import annotations

import re
from typing import Any

import torch
from timm.layers import to_2tuple
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ...errors import InputError
from .clips import FACTS, check_clips

# Parts of names in transformers and here; in each name the first occurrence of each is replaced.
_TRANSFORMERS = {
    "embeddings.patch_embeddings.projection.": "patch_embed.proj.",
    "encoder.layer.": "blocks.",
    "attention.output.dense.": "attn.proj.",
    "attention.attention.": "attn.",
    "intermediate.dense.": "mlp.fc1.",
    "output.dense.": "mlp.fc2.",
    "layernorm_before.": "norm1.",
    "layernorm_after.": "norm2.",
    "layernorm.": "fc_norm.",
    "classifier.": "head.",
    "query.bias": "q_bias",
    "key.bias": "k_bias",  # of transformers 5.12 alone: it cancels in the softmax
    "value.bias": "v_bias",
}
_OF_PRETRAINING = ("decoder.", "encoder_to_decoder.", "mask_token")


class TubeletEmbed(nn.Module):
    """Embeds tubelets, patches that span several frames, by one convolution.

    It has the attributes of timm's `PatchEmbed`; its grid is in time, height and width.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        *,
        num_frames: int = 16,
        tubelet: int = 2,
        bias: bool = True,
        **_: object,
    ) -> None:
        """Take `PatchEmbed`'s arguments.

        Args:
            img_size: Height and width in pixels.
            patch_size: Side of a tubelet in pixels.
            in_chans: Channels of a frame.
            embed_dim: Channels of a token.
            num_frames: Frames of a clip.
            tubelet: Frames of a tubelet.
            bias: Whether the convolution has one.
            _: Further arguments of `PatchEmbed`, which are ignored.

        Raises:
            InputError: If `num_frames` is not a multiple of `tubelet`.
        """
        super().__init__()
        height, width = to_2tuple(img_size)
        self.img_size, self.patch_size = (height, width), (patch_size, patch_size)
        self.num_frames, self.tubelet = num_frames, tubelet
        if not isinstance(num_frames, int) or num_frames < 1 or num_frames % tubelet:
            raise InputError(
                f"backbone.num_frames={num_frames} is not a multiple of the {tubelet} "
                f"frames of a tubelet: choose one, as {tubelet * 8}."
            )
        self.grid_size = self.dynamic_feat_size(self.img_size)
        frames, rows, columns = self.grid_size
        self.num_patches = frames * rows * columns
        kernel = (tubelet, patch_size, patch_size)
        self.proj = nn.Conv3d(in_chans, embed_dim, kernel, stride=kernel, bias=bias)

    def feat_ratio(self, as_scalar: bool = True) -> int | tuple[int, int]:
        """Return the pixels of a frame from one token to the next."""
        return self.patch_size[0] if as_scalar else self.patch_size

    def dynamic_feat_size(self, img_size: tuple[int, int]) -> tuple[int, int, int]:
        """Return how many tubelets a clip has in time, height and width, by its frames' size."""
        (height, width), (rows, columns) = img_size, self.patch_size
        return self.num_frames // self.tubelet, height // rows, width // columns

    def forward(self, x: Tensor) -> Tensor:
        """Embed clips `(B, 3, T, H, W)` to `(B, N, C)`.

        Raises:
            InputError: If the clips have another size.
        """
        check_clips(x, self.num_frames, self.img_size)
        return self.proj(x).flatten(2).transpose(1, 2)


class VideoMAE(VisionTransformer):
    """Classifies clips by the mean of a vision transformer's tokens, one for each tubelet.

    Modifications of timm's: tubelets, and fixed positions, which are not weights.
    VideoMAE has biases on query and value but none on key. Its files are read with zeros for the
    latter, which changes nothing: a bias on key adds the same number to all logits of a query.
    """

    def __init__(self, num_frames: int = 16, tubelet: int = 2, **options: Any) -> None:
        """Take `VisionTransformer`'s arguments; a clip has `num_frames`, a tubelet `tubelet`."""

        def embedding(**arguments: Any) -> TubeletEmbed:
            return TubeletEmbed(num_frames=num_frames, tubelet=tubelet, **arguments)

        own = {"class_token": False, "global_pool": "avg", "embed_layer": embedding}
        super().__init__(**{**own, **options, "pos_embed": "none"})
        del self.pos_embed
        positions = sine_positions(self.patch_embed.num_patches, self.embed_dim)
        self.register_buffer("pos_embed", positions, persistent=False)


def sine_positions(count: int, dim: int) -> Tensor:
    """Return fixed positions `(1, count, dim)`: sines and cosines in turn (Vaswani et al. 2017)."""
    places = torch.arange(count, dtype=torch.float64).unsqueeze(1)
    channels = torch.arange(dim, dtype=torch.float64)
    angles = places / 10000 ** (2 * (channels // 2) / dim)
    return torch.where(channels % 2 == 0, angles.sin(), angles.cos()).float().unsqueeze(0)


def checkpoint_filter_fn(weights: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Rename released weights (MCG-NJU) and those of `VideoMAEForVideoClassification`.

    A pretrained encoder has a norm on all tokens; the norm of their mean starts from its weights.
    """
    named = {
        _own_name(key): value
        for key, value in weights.items()
        if not key.startswith(_OF_PRETRAINING)
    }
    for place in [
        key.removesuffix("query.weight") for key in named if key.endswith("query.weight")
    ]:
        parts = [named.pop(f"{place}{part}.weight") for part in ("query", "key", "value")]
        named[f"{place}qkv.weight"] = torch.cat(parts)
    for place in [key.removesuffix("q_bias") for key in named if key.endswith("q_bias")]:
        query, value = named.pop(f"{place}q_bias"), named.pop(f"{place}v_bias")
        key = named.pop(f"{place}k_bias", torch.zeros_like(query))
        named[f"{place}qkv.bias"] = torch.cat([query, key, value])
    return named


def _own_name(key: str) -> str:
    key = key.removeprefix("videomae.")
    for theirs, own in _TRANSFORMERS.items():
        key = key.replace(theirs, own, 1)
    return re.sub(r"^norm\.", "fc_norm.", key)


_FACTS = FACTS | {
    "num_classes": 400,
    "input_size": (3, 224, 224),
    "crop_pct": 1.0,
    "classifier": "head",
}
_LARGE = {f"videomae_{size}_patch16_224": _FACTS for size in ("small", "base", "large")}
_MICRO = {"num_classes": 10, "input_size": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3}
default_cfgs = generate_default_cfgs({**_LARGE, "videomae_micro_patch8_32": _FACTS | _MICRO})


def _build(name: str, pretrained: bool, shape: dict[str, int], options: dict[str, Any]) -> VideoMAE:
    network: VideoMAE = build_model_with_cfg(
        VideoMAE,
        name,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        **{**shape, **options},
    )
    return network


@register_model
def videomae_small_patch16_224(pretrained: bool = False, **options: Any) -> VideoMAE:
    """Build twelve blocks of 384 channels and 6 heads over 1,568 tubelets of 16 frames."""
    shape = {"embed_dim": 384, "depth": 12, "num_heads": 6}
    return _build("videomae_small_patch16_224", pretrained, shape, options)


@register_model
def videomae_base_patch16_224(pretrained: bool = False, **options: Any) -> VideoMAE:
    """Build twelve blocks of 768 channels and 12 heads over 1,568 tubelets of 16 frames."""
    shape = {"embed_dim": 768, "depth": 12, "num_heads": 12}
    return _build("videomae_base_patch16_224", pretrained, shape, options)


@register_model
def videomae_large_patch16_224(pretrained: bool = False, **options: Any) -> VideoMAE:
    """Build 24 blocks of 1,024 channels and 16 heads over 1,568 tubelets of 16 frames."""
    shape = {"embed_dim": 1024, "depth": 24, "num_heads": 16}
    return _build("videomae_large_patch16_224", pretrained, shape, options)


@register_model
def videomae_micro_patch8_32(pretrained: bool = False, **options: Any) -> VideoMAE:
    """Build six blocks of 96 channels and 3 heads over 64 tubelets of 8 frames of 32 pixels."""
    shape = {"img_size": 32, "patch_size": 8, "num_frames": 8}
    shape |= {"embed_dim": 96, "depth": 6, "num_heads": 3}
    return _build("videomae_micro_patch8_32", pretrained, shape, options)
