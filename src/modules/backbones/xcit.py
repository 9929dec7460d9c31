"""Walks XCiT (El-Nouby et al. 2021, arXiv:2106.09681): timm's `Xcit`.

Its attention is among channels, and a convolution mixes neighbors, so positions stay in a grid.
"""

from __future__ import annotations

from typing import cast

import torch
from timm.models.xcit import XCABlock, Xcit, checkpoint_filter_fn
from torch import Tensor, nn
from typing_extensions import override

from .base import Geometry, Level, timm_names
from .units import Unit, UnitBackbone, UnitStage, as_tokens, identity


class SparseXcit(UnitBackbone):
    """Walks timm's `Xcit`, all blocks of which are one stage, with its own modules.

    Modifications: in routed blocks the MLP, with its scale, serves the slow path; attention among
    channels and local interaction stay dense.
    """

    networks = (Xcit,)
    example = "xcit_small_12_p16_224"
    routed_stage = 0
    backbone: Xcit

    @staticmethod
    @override
    def check(network: nn.Module) -> None:
        pass

    @staticmethod
    @override
    def geometry(network: nn.Module) -> Geometry:
        assert isinstance(network, Xcit)
        return Geometry(network.embed_dim, len(network.blocks), None, layer_scale=1e-5)

    @override
    def levels(self) -> tuple[Level, ...]:
        return super().levels()[-1:]

    @override
    def stem(self, images: Tensor) -> Tensor:
        net = self.backbone
        x, (height, width) = net.patch_embed(images)
        x = x.transpose(1, 2).unflatten(2, (height, width))
        if net.pos_embed is not None:
            x = x + net.pos_embed(x.shape[0], height, width)
        return net.pos_drop(x)

    @override
    def unit_stages(self) -> list[UnitStage]:
        return [UnitStage(identity, [_unit(cast(XCABlock, b)) for b in self.backbone.blocks])]

    @override
    def tail(self, x: Tensor) -> tuple[Tensor, Tensor]:
        net = self.backbone
        tokens = torch.cat((net.cls_token.expand(x.shape[0], -1, -1), self.positions(x)), dim=1)
        run = self._block_runner()
        for block in net.cls_attn_blocks:
            tokens = run(block, tokens)
        tokens = net.norm(tokens)
        return net.forward_head(tokens), tokens[:, 1:]

    @override
    def import_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return timm_names(checkpoint_filter_fn, weights, self.backbone)


def _unit(block: XCABlock) -> Unit:
    def run_block(x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        return as_tokens(lambda tokens: block(tokens, height, width))(x)

    def mix(x: Tensor) -> Tensor:
        height, width = x.shape[2:]

        def run(y: Tensor) -> Tensor:
            y = y + block.drop_path1(block.gamma1 * block.attn(block.norm1(y)))
            local = block.local_mp(block.norm3(y), height, width)
            return y + block.drop_path3(block.gamma3 * local)

        return as_tokens(run)(x)

    return Unit(
        block=run_block,
        mix=mix,
        norm=as_tokens(block.norm2),
        slow=lambda y: block.gamma2 * block.mlp(y),
        residual=identity,
        drop_path=block.drop_path2,
    )
