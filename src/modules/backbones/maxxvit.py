"""Walks CoAtNet, MaxViT and their relatives (arXiv:2106.04803, 2204.01697): timm's `MaxxVit`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from timm.layers import NormMlpClassifierHead
from timm.models.maxxvit import (
    MaxxVit,
    MaxxVitBlock,
    MaxxVitStage,
    PartitionAttention2d,
    PartitionAttentionCl,
    TransformerBlock2d,
    checkpoint_filter_fn,
)
from torch import Tensor, nn
from typing_extensions import override

from ...errors import InputError
from .base import Geometry, Level, timm_names
from .spatial import ROUTED
from .swin import check_third_stage
from .timm_parts import Layer, Network
from .units import Unit, UnitBackbone, UnitStage, channels_last, identity, in_turn, on_columns

Partition = PartitionAttention2d | PartitionAttentionCl


class SparseMaxxVit(UnitBackbone):
    """Walks timm's `MaxxVit` stage by stage with its own modules.

    In the third stage each attention with its MLP is a block of the schedule: MaxViT's windows and
    grids, and CoAtNet's transformers except the one that downsamples. Modifications: in routed
    blocks the MLP, with its scale, serves the slow path; convolutions and attention stay dense.
    """

    networks = (MaxxVit,)
    example = "maxvit_tiny_tf_224"
    any_size = None
    backbone: MaxxVit

    @staticmethod
    def check(network: nn.Module) -> None:
        """Check that the third stage is made of MaxViT's or CoAtNet's transformer blocks.

        Raises:
            InputError: If it is not, or under a timm whose network does not know its image size.
        """
        check_third_stage(network, _stages_of(network))
        if not hasattr(network, "img_size"):
            raise InputError(
                f"This {type(network).__name__} does not tell the image size that it was made for: "
                "sparsify it with timm 1.0.31 or newer."
            )
        for block in _stages_of(network)[ROUTED].blocks:
            if type(block) not in (MaxxVitBlock, TransformerBlock2d):
                raise InputError(
                    f"A third stage with {type(block).__name__} cannot be sparsified: its "
                    "blocks must be timm's MaxxVitBlock or TransformerBlock2d."
                )

    @staticmethod
    @override
    def geometry(network: nn.Module) -> Geometry:
        stage = _routed_stage(_stages_of(network)[ROUTED])
        dim = cast(Network, network).feature_info[ROUTED + 1]["num_chs"]
        return Geometry(dim, len(stage.blocks), None)

    @override
    def levels(self) -> tuple[Level, ...]:
        return super().levels()[1:]  # the first is the stem

    @property
    @override
    def image_size(self) -> tuple[int, int]:
        height, width = cast("tuple[int, int]", self.backbone.img_size)
        return height, width

    @override
    def stem(self, images: Tensor) -> Tensor:
        return self.backbone.stem(images)

    @override
    def unit_stages(self) -> list[UnitStage]:
        stages = _stages_of(self.backbone)
        return [
            _routed_stage(stage) if index == ROUTED else UnitStage(stage, [])
            for index, stage in enumerate(stages)
        ]

    @override
    def tail(self, x: Tensor) -> tuple[Tensor, Tensor]:
        net = self.backbone
        x = net.norm(x)
        normed = net.head.norm(x) if isinstance(net.head, NormMlpClassifierHead) else x
        return net.forward_head(x), self.positions(normed)

    @override
    def import_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return timm_names(checkpoint_filter_fn, weights, self.backbone)


def _stages_of(network: nn.Module) -> list[MaxxVitStage]:
    return [cast(MaxxVitStage, stage) for stage in cast(MaxxVit, network).stages]


def _routed_stage(stage: MaxxVitStage) -> UnitStage:
    """Split off what downsamples: the first convolution, or the entire first transformer."""
    first, *others = stage.blocks
    if isinstance(first, MaxxVitBlock):
        units = [*_units(first, identity)]
        downsample: Layer = first.conv
    else:
        units, downsample = [], first
    return UnitStage(downsample, [*units, *(unit for block in others for unit in _of(block))])


def _of(block: nn.Module) -> Iterator[Unit]:
    if isinstance(block, MaxxVitBlock):
        yield from _units(block, block.conv)
    else:
        assert isinstance(block, TransformerBlock2d)

        def mix(x: Tensor) -> Tensor:
            branch = block.drop_path1(block.ls1(block.attn(block.norm1(x))))
            return block.shortcut(x) + branch

        slow = on_columns(in_turn(block.mlp, block.ls2))
        yield Unit(block, mix, block.norm2, slow, identity, block.drop_path2)


def _units(block: MaxxVitBlock, convolution: Layer) -> Iterator[Unit]:
    before = convolution
    for layer in (block.attn_block, block.attn_grid):
        if layer is not None:
            yield _partition(cast(Partition, layer), before)
            before = identity


def _partition(layer: Partition, before: Layer) -> Unit:
    maps = isinstance(layer, PartitionAttention2d)

    def mix(x: Tensor) -> Tensor:
        return x + layer.drop_path1(layer.ls1(layer._partition_attn(layer.norm1(x))))

    def layout(part: Layer) -> Layer:
        return part if maps else channels_last(part)

    mlp = in_turn(layer.mlp, layer.ls2)
    return Unit(
        block=in_turn(before, layout(layer)),
        mix=in_turn(before, layout(mix)),
        norm=layout(layer.norm2),
        slow=on_columns(mlp) if maps else mlp,
        residual=identity,
        drop_path=layer.drop_path2,
    )
