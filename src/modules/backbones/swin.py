"""Walks Swin transformers: timm's `SwinTransformer` and `SwinTransformerV2`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from jaxtyping import Int
from timm.layers import PatchEmbed
from timm.models import swin_transformer, swin_transformer_v2
from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock
from timm.models.swin_transformer_v2 import SwinTransformerV2, SwinTransformerV2Block
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from ...errors import InputError
from ..layers.paths import Path, TwoPaths
from ..layers.windows import KeptWindows, partition
from .base import Geometry, timm_names
from .spatial import ROUTED, SpatialBackbone
from .timm_parts import Stage
from .windowed import WindowedBackbone

Swin = SwinTransformer | SwinTransformerV2
SwinBlock = SwinTransformerBlock | SwinTransformerV2Block


class SparseSwin(SpatialBackbone[SwinBlock], WindowedBackbone[SwinBlock]):
    """Walks Swin stage by stage; maps are `(B, H, W, C)`.

    Modifications: in routed blocks window attention stays dense and the MLP, with its norm, serves
    the slow path; under a method that skips windows, both serve the windows that are computed.
    """

    networks = (SwinTransformer, SwinTransformerV2)
    example = "swin_tiny_patch4_window7_224"
    any_size = {"strict_img_size": False}
    backbone: Swin

    @staticmethod
    def check(network: nn.Module) -> None:
        """Raise an `InputError` unless windows divide each stage's map, or the network pads it."""
        assert isinstance(network, Swin)
        stages = stages_of(network)
        check_third_stage(network, stages)
        embed = cast(PatchEmbed, network.patch_embed)
        if not embed.strict_img_size or embed.img_size is None:
            return
        side, patch = embed.img_size[0], embed.patch_size[0]
        windows = [stage.blocks[0].window_size for stage in stages]
        for (height, width), window in zip(
            (resolution_of(stage.blocks[0]) for stage in stages), windows, strict=True
        ):
            if height % window[0] or width % window[1]:
                raise InputError(
                    f"backbone.image_size={side} makes a map of {height}x{width} positions, which "
                    f"windows of {window[0]}x{window[1]} do not divide: choose "
                    f"{_sizes_that_fit(side, patch, windows)}, or set "
                    "backbone.options.window_size, or strict_img_size=false there to pad."
                )

    @staticmethod
    @override
    def geometry(network: nn.Module) -> Geometry:
        assert isinstance(network, Swin)
        blocks = stages_of(network)[ROUTED].blocks
        height, width = resolution_of(blocks[0])
        return Geometry(blocks[0].dim, len(blocks), height * width)

    def stem(self, images: Tensor) -> Tensor:
        """Embed patches; an image that they do not divide is padded, as by timm's ViT."""
        embed = cast(PatchEmbed, self.backbone.patch_embed)
        sides = zip(images.shape[-2:], embed.patch_size, strict=True)
        bottom, right = (-side % length for side, length in sides)
        if bottom or right:
            images = F.pad(images, (0, right, 0, bottom))
        out: Tensor = embed(images)
        return out

    @override
    def stages(self) -> Sequence[Stage[SwinBlock]]:
        return stages_of(self.backbone)

    @override
    def positions(self, x: Tensor) -> Tensor:
        return x.flatten(1, 2)

    @override
    def as_map(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2)

    def routed(self, block: SwinBlock, x: Tensor, paths: TwoPaths, fast: Path) -> Tensor:
        """Run the block; V1 norms before attention and MLP, V2 after."""
        if isinstance(paths, KeptWindows):
            return self._windowed(block, x, paths, fast)
        pre_norm = isinstance(block, SwinTransformerBlock)
        attended = block._attn(block.norm1(x)) if pre_norm else block.norm1(block._attn(x))
        x = x + block.drop_path1(attended)

        def slow(y: Tensor) -> Tensor:
            out: Tensor = block.mlp(block.norm2(y)) if pre_norm else block.norm2(block.mlp(y))
            return out

        branch = paths.run(self.positions(x), slow, fast)
        return x + block.drop_path2(branch).view_as(x)

    @override
    def windows(self, block: SwinBlock, x: Tensor) -> Int[Tensor, "W M"]:
        return partition((x.shape[1], x.shape[2]), block.window_size, block.shift_size, x.device)

    def _windowed(self, block: SwinBlock, x: Tensor, paths: KeptWindows, fast: Path) -> Tensor:
        """Run the block on some of its windows; other positions take the fast path alone."""
        if paths.all:
            dense: Tensor = block(x)
            return dense
        pre_norm = isinstance(block, SwinTransformerBlock)
        mask = _mask_of(block, x)
        area = paths.windows.shape[1]

        def attend(y: Tensor) -> Tensor:
            y = y.masked_fill(~paths.inside.flatten(1).unsqueeze(-1), 0.0)  # as timm pads
            own = None if mask is None else mask[paths.kept.flatten()]  # (B*K, M, M)
            attended: Tensor = block.attn(y.reshape(-1, area, y.shape[-1]), own)
            return attended.view_as(y)

        def slow(y: Tensor) -> Tensor:
            y = y + block.drop_path1(attend(block.norm1(y)) if pre_norm else block.norm1(attend(y)))
            return y + block.drop_path2(
                block.mlp(block.norm2(y)) if pre_norm else block.norm2(block.mlp(y))
            )

        out = paths.run(self.positions(x), slow, lambda y: y + block.drop_path2(fast(y)))
        return out.view_as(x)

    @override
    def tail(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.backbone.norm(x)
        return self.backbone.forward_head(x), x.flatten(1, 2)

    def import_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename weights of DynamicSwin or of a dense network (its authors' names or timm's).

        The authors downsample at the end of a stage, timm at the start of the next.
        """
        method = {}
        dense = {}
        for key, value in weights.items():
            if ".score_predictor." in key:
                method["method.predictors." + key.partition(".score_predictor.")[2]] = value
            elif ".fastmlp.fc1." in key:
                block, _, name = key.partition(".fastmlp.fc1.")
                method[f"method.fast_paths.{block.rpartition('.')[2]}.layers.{name}"] = value
            else:
                dense[key] = value
        first = isinstance(self.backbone, SwinTransformer)
        library = swin_transformer if first else swin_transformer_v2
        return method | timm_names(library.checkpoint_filter_fn, dense, self.backbone)


def stages_of(network: Swin) -> Sequence[Stage[SwinBlock]]:
    """Return the stages of `network`, typed."""
    return cast("Sequence[Stage[SwinBlock]]", network.layers)


def resolution_of(block: SwinBlock) -> tuple[int, int]:
    """Return the height and width of the map that `block` was made for."""
    return cast("tuple[int, int]", block.input_resolution)


def _mask_of(block: SwinBlock, x: Tensor) -> Tensor | None:
    """Return what `block` adds to the logits in each window, `(W, M, M)`, on `x (B, H, W, C)`."""
    if not block.dynamic_mask:
        return cast("Tensor | None", block.attn_mask)
    rows, columns = block.window_size
    return block.get_attn_mask(
        F.pad(x[:1, :, :, :1], (0, 0, 0, -x.shape[2] % columns, 0, -x.shape[1] % rows))
    )


def check_third_stage(network: nn.Module, stages: Sequence[object]) -> None:
    """Raise an `InputError` if there is no third stage to route in."""
    if len(stages) <= ROUTED:
        raise InputError(
            f"This {type(network).__name__} has {len(stages)} stages, but slow and fast paths are "
            "those of the third: give a network with at least three."
        )


def _sizes_that_fit(side: int, patch: int, windows: list[tuple[int, int]]) -> str:
    """Name the next smaller and larger image size that windows divide in each stage."""

    def fits(size: int) -> bool:
        lengths = [-(-size // patch // 2**stage) for stage in range(len(windows))]
        return all(
            length <= side or length % side == 0
            for length, window in zip(lengths, windows, strict=True)
            for side in window
        )

    smaller = [size for size in range(patch, side, patch) if fits(size)][-1:]
    larger = [size for size in range(side, 4 * side, patch) if fits(size)][:1]
    return " or ".join(map(str, smaller + larger))
