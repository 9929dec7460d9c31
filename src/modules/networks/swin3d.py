"""Registers torchvision's Video Swin (Liu et al., CVPR 2022, arXiv:2106.13230) with timm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from timm.layers import to_2tuple
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformerBlock
from torchvision.models.video.swin_transformer import (
    PatchEmbed3d,
    Swin3D_B_Weights,
    Swin3D_S_Weights,
    Swin3D_T_Weights,
    SwinTransformer3d,
)

from ...errors import InputError
from .clips import FACTS, check_clips
from .window_attention import WindowAttention3d


class ClipEmbed(PatchEmbed3d):
    """Embeds patches that span several frames, as torchvision does, of clips of one size.

    It has `img_size`, `patch_size` and `grid_size`, as timm's `PatchEmbed` has.
    """

    def __init__(
        self,
        patch_size: list[int],
        *,
        img_size: tuple[int, int],
        num_frames: int,
        in_chans: int,
        embed_dim: int,
        norm_layer: Callable[..., nn.Module],
    ) -> None:
        """Take torchvision's arguments and the size of a clip.

        Args:
            patch_size: Frames of a patch, and its height and width in pixels.
            img_size: Height and width in pixels.
            num_frames: Frames of a clip.
            in_chans: Channels of a frame.
            embed_dim: Channels of a patch.
            norm_layer: Makes the norm of the patches.
        """
        super().__init__(patch_size, in_chans, embed_dim, norm_layer)
        self.img_size, self.num_frames = img_size, num_frames
        self.patch_size = (patch_size[1], patch_size[2])

    @property
    def grid_size(self) -> tuple[int, int, int]:
        """Return how many patches a clip has in time, height and width; clips are padded to fit."""
        size = (self.num_frames, *self.img_size)
        pairs = zip(size, self.tuple_patch_size, strict=True)
        frames, rows, columns = (-(-length // patch) for length, patch in pairs)
        return frames, rows, columns

    def forward(self, x: Tensor) -> Tensor:
        """Embed clips `(B, 3, T, H, W)` to `(B, t, h, w, C)`.

        Raises:
            InputError: If the clips have another size.
        """
        check_clips(x, self.num_frames, self.img_size)
        return super().forward(x)


class VideoSwin(SwinTransformer3d):
    """Classifies clips by torchvision's `SwinTransformer3d`, whose weights have the same names.

    Modifications: the attention is `WindowAttention3d`; it takes clips of one size, may lack a
    classifier, and has the attributes and methods of timm's networks.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        num_frames: int = 32,
        num_classes: int = 400,
        in_chans: int = 3,
        patch_size: Sequence[int] = (2, 4, 4),
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: Sequence[int] = (8, 7, 7),
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.1,
    ) -> None:
        """Take arguments by timm's names.

        Args:
            img_size: Height and width in pixels, or one number for both.
            num_frames: Frames of a clip.
            num_classes: Outputs; 0 for no classifier.
            in_chans: Channels of a frame.
            patch_size: Frames, rows and columns of a patch.
            embed_dim: Channels of the first stage; each further one doubles them.
            depths: Blocks of each stage.
            num_heads: Attention heads of each stage.
            window_size: Positions of a window in time, height and width; where the map is smaller,
                the window is the map.
            mlp_ratio: Width of an MLP as a multiple of its channels.
            drop_path_rate: Stochastic depth of the last block.

        Raises:
            InputError: If a patch or window has not three sides, or stages and heads do not fit.
        """
        height, width = to_2tuple(img_size)
        _check(patch_size, window_size, embed_dim, depths, num_heads)
        embed = partial(
            ClipEmbed, img_size=(height, width), num_frames=num_frames, in_chans=in_chans
        )
        super().__init__(
            patch_size=list(patch_size),
            embed_dim=embed_dim,
            depths=list(depths),
            num_heads=list(num_heads),
            window_size=list(window_size),
            mlp_ratio=mlp_ratio,
            stochastic_depth_prob=drop_path_rate,
            num_classes=num_classes or 1,
            patch_embed=embed,
            block=_block,
        )
        self.head_hidden_size = self.num_features
        self.feature_info = [
            {"num_chs": embed_dim * 2**stage, "reduction": patch_size[1] * 2**stage}
            for stage in range(len(depths))
        ]
        self.grad_checkpointing = False
        if not num_classes:
            self.reset_classifier(0)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Have students compute blocks anew in the backward pass."""
        self.grad_checkpointing = enable

    def get_classifier(self) -> nn.Module:
        """Return the classifier."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier; 0 classes leave the pooled embedding.

        Args:
            num_classes: Outputs.
            global_pool: Without effect; positions are averaged.
        """
        self.num_classes = num_classes
        self.head: nn.Module = nn.Identity()
        if num_classes:
            like = self.norm.weight
            self.head = nn.Linear(
                self.num_features, num_classes, device=like.device, dtype=like.dtype
            )
            nn.init.trunc_normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    def forward_head(self, x: Tensor) -> Tensor:
        """Classify normed positions `(B, t, h, w, C)` by their mean."""
        pooled = self.avgpool(x.permute(0, 4, 1, 2, 3))
        logits: Tensor = self.head(torch.flatten(pooled, 1))
        return logits


def _block(*sizes: int, **options: Any) -> SwinTransformerBlock:
    return SwinTransformerBlock(*sizes, **{**options, "attn_layer": WindowAttention3d})


def _check(
    patch_size: Sequence[int],
    window_size: Sequence[int],
    embed_dim: int,
    depths: Sequence[int],
    num_heads: Sequence[int],
) -> None:
    for name, value in (("patch_size", patch_size), ("window_size", window_size)):
        if not isinstance(value, Sequence) or len(value) != 3:
            raise InputError(
                f"backbone.options.{name}={value!r} is not three numbers: of frames, rows and "
                "columns, as [2,4,4]."
            )
    if len(depths) != len(num_heads):
        raise InputError(
            f"backbone.options.num_heads={list(num_heads)} is not a number for each of the "
            f"{len(depths)} stages of depths={list(depths)}."
        )
    for stage, heads in enumerate(num_heads):
        if embed_dim * 2**stage % heads:
            raise InputError(
                f"backbone.options.num_heads={list(num_heads)} does not divide the channels "
                f"{[embed_dim * 2**i for i in range(len(depths))]} of the stages."
            )


_FACTS = FACTS | {
    "num_classes": 400,
    "input_size": (3, 224, 224),
    "crop_pct": 0.875,
    "classifier": "head",
}
_OF_TORCHVISION = {
    "swin3d_t.k400": Swin3D_T_Weights.KINETICS400_V1,
    "swin3d_s.k400": Swin3D_S_Weights.KINETICS400_V1,
    "swin3d_b.k400": Swin3D_B_Weights.KINETICS400_V1,
    "swin3d_b.in22k_k400": Swin3D_B_Weights.KINETICS400_IMAGENET22K_V1,
}
default_cfgs = generate_default_cfgs(
    {name: {**_FACTS, "url": weights.url} for name, weights in _OF_TORCHVISION.items()}
)


def _build(name: str, pretrained: bool, shape: dict[str, Any], options: dict[str, Any]) -> Any:
    return build_model_with_cfg(VideoSwin, name, pretrained, **{**shape, **options})


@register_model
def swin3d_t(pretrained: bool = False, **options: Any) -> VideoSwin:
    """Build Video Swin-T: 12 blocks of 96 to 768 channels, windows of 8x7x7."""
    return _build("swin3d_t", pretrained, {}, options)


@register_model
def swin3d_s(pretrained: bool = False, **options: Any) -> VideoSwin:
    """Build Video Swin-S: 24 blocks of 96 to 768 channels, windows of 8x7x7."""
    return _build("swin3d_s", pretrained, {"depths": (2, 2, 18, 2)}, options)


@register_model
def swin3d_b(pretrained: bool = False, **options: Any) -> VideoSwin:
    """Build Video Swin-B: 24 blocks of 128 to 1,024 channels, windows of 8x7x7."""
    shape = {"embed_dim": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32)}
    return _build("swin3d_b", pretrained, shape, options)
