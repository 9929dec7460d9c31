"""Walks ConvNeXt (Liu et al. 2022, arXiv:2201.03545): timm's `ConvNeXt`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from timm.layers import Mlp, NormMlpClassifierHead
from timm.models.convnext import ConvNeXt, ConvNeXtBlock, checkpoint_filter_fn
from torch import Tensor, nn
from typing_extensions import override

from ...errors import InputError
from ..layers.paths import Path, TwoPaths
from .base import Geometry, timm_names
from .spatial import ROUTED, SpatialBackbone
from .timm_parts import Stage


class SparseConvNeXt(SpatialBackbone[ConvNeXtBlock]):
    """Walks ConvNeXt stage by stage; maps are `(B, C, H, W)`.

    Modifications: in routed blocks the depthwise convolution stays dense and norm, MLP and layer
    scale serve the slow path.
    """

    networks = (ConvNeXt,)
    example = "convnext_tiny"
    backbone: ConvNeXt

    @staticmethod
    def check(network: nn.Module) -> None:
        """Check that the MLPs of the third stage treat each position by itself."""
        assert isinstance(network, ConvNeXt)
        for block in stages_of(network)[ROUTED].blocks:
            if type(block) is not ConvNeXtBlock or type(block.mlp) is not Mlp:
                raise InputError(
                    f"ConvNeXt blocks with {type(block.mlp).__name__} cannot be sparsified: they "
                    "mix positions (global response norm, ConvNeXt-V2), so that none can skip "
                    "them; give a ConvNeXt of the first version."
                )

    @staticmethod
    @override
    def geometry(network: nn.Module) -> Geometry:
        assert isinstance(network, ConvNeXt)
        blocks = stages_of(network)[ROUTED].blocks
        dim, scaled = blocks[0].conv_dw.out_channels, blocks[0].gamma is not None
        return Geometry(dim, len(blocks), None, layer_scale=1e-6 if scaled else None)

    @override
    def stem(self, images: Tensor) -> Tensor:
        return self.backbone.stem(images)

    @override
    def stages(self) -> Sequence[Stage[ConvNeXtBlock]]:
        return stages_of(self.backbone)

    @override
    def positions(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)

    @override
    def as_map(self, x: Tensor) -> Tensor:
        return x

    @override
    def routed(self, block: ConvNeXtBlock, x: Tensor, paths: TwoPaths, fast: Path) -> Tensor:

        def slow(y: Tensor) -> Tensor:  # (B, N, C)
            if block.use_conv_mlp:
                column = y.transpose(1, 2).unsqueeze(-1)  # (B, C, N, 1)
                out = block.mlp(block.norm(column)).squeeze(-1).transpose(1, 2)
            else:
                out = block.mlp(block.norm(y))
            return out if block.gamma is None else out * block.gamma

        branch = paths.run(self.positions(block.conv_dw(x)), slow, fast)
        return block.drop_path(branch.transpose(1, 2).view_as(x)) + block.shortcut(x)

    def tail(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Run timm's head; the norm that it applies after pooling is applied to each position."""
        net = self.backbone
        x = net.norm_pre(x)
        normed = net.head.norm(x) if isinstance(net.head, NormMlpClassifierHead) else x
        return net.forward_head(x), self.positions(normed)

    def import_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename weights of DynamicCNN or of a dense network (its authors' names or timm's).

        DynamicCNN's predictors are 1x1 convolutions, which become linear layers.
        """
        method = {}
        dense = {}
        for key, value in weights.items():
            if key.startswith("score_predictor."):
                name = "method.predictors." + key.removeprefix("score_predictor.")
                method[name] = value.flatten(1) if value.ndim == 4 else value
            elif ".fast_path" in key:
                block, _, name = key.partition(".fast_path")
                name = {"_gamma": "gamma"}.get(name, "layers" + name)
                method[f"method.fast_paths.{block.rpartition('.')[2]}.{name}"] = value
            else:
                dense[key] = value
        return method | timm_names(checkpoint_filter_fn, dense, self.backbone)


def stages_of(network: ConvNeXt) -> Sequence[Stage[ConvNeXtBlock]]:
    """Return the stages of `network`, typed."""
    return cast("Sequence[Stage[ConvNeXtBlock]]", network.stages)
