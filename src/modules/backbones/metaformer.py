"""Walks MetaFormers (Yu et al. 2022, arXiv:2210.13452): timm's `MetaFormer`.

These are PoolFormer, ConvFormer, CAFormer and others, which differ in how blocks mix positions.
"""

from __future__ import annotations

from typing import cast

from timm.models.metaformer import (
    MetaFormer,
    MetaFormerBlock,
    MetaFormerStage,
    Scale,
    checkpoint_filter_fn,
)
from torch import Tensor, nn
from typing_extensions import override

from .base import Geometry, timm_names
from .spatial import ROUTED
from .swin import check_third_stage
from .timm_parts import Layer, Network
from .units import Unit, UnitBackbone, UnitStage, as_tokens, in_turn, on_columns


class SparseMetaFormer(UnitBackbone):
    """Walks timm's `MetaFormer` stage by stage with its own modules.

    Modifications: in routed blocks the MLP, with its scale, serves the slow path.
    """

    networks = (MetaFormer,)
    example = "caformer_s18"
    backbone: MetaFormer

    @staticmethod
    @override
    def check(network: nn.Module) -> None:
        check_third_stage(network, _stages_of(network))

    @staticmethod
    @override
    def geometry(network: nn.Module) -> Geometry:
        stage = _stages_of(network)[ROUTED]
        block = cast(MetaFormerBlock, stage.blocks[0])
        scaled = isinstance(block.layer_scale2, Scale)
        dim = cast(Network, network).feature_info[ROUTED]["num_chs"]
        return Geometry(dim, len(stage.blocks), None, layer_scale=1e-5 if scaled else None)

    @override
    def stem(self, images: Tensor) -> Tensor:
        return self.backbone.stem(images)

    @override
    def unit_stages(self) -> list[UnitStage]:
        return [
            UnitStage(
                stage.downsample,
                [_unit(cast(MetaFormerBlock, block), stage.use_nchw) for block in stage.blocks],
            )
            for stage in _stages_of(self.backbone)
        ]

    def tail(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Run timm's head; the norm that it applies after pooling is applied to each position."""
        net = self.backbone
        batch, channels, height, width = x.shape
        columns = self.positions(x).reshape(-1, channels, 1, 1)
        normed = cast(Layer, cast(nn.Sequential, net.head).norm)(columns)
        return net.forward_head(x), normed.view(batch, height * width, channels)

    @override
    def import_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return timm_names(checkpoint_filter_fn, weights, self.backbone)


def _stages_of(network: nn.Module) -> list[MetaFormerStage]:
    return [cast(MetaFormerStage, stage) for stage in cast(MetaFormer, network).stages]


def _unit(block: MetaFormerBlock, maps: bool) -> Unit:
    def mix(x: Tensor) -> Tensor:
        branch = block.drop_path1(block.token_mixer(block.norm1(x)))
        return block.res_scale1(x) + block.layer_scale1(branch)

    def layout(layer: Layer) -> Layer:
        return layer if maps else as_tokens(layer)

    mlp = in_turn(block.mlp, block.layer_scale2)
    return Unit(
        block=layout(block),
        mix=layout(mix),
        norm=layout(block.norm2),
        slow=on_columns(mlp) if maps else mlp,
        residual=layout(block.res_scale2),
        drop_path=block.drop_path2,
    )
