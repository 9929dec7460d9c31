"""Walks LV-ViT (Jiang et al. 2021, arXiv:2104.10858)."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from typing_extensions import override

from ..layers.tokens import Tokens
from ..methods.base import Method
from ..networks.lvvit import AUXILIARY_WEIGHT, LVViT
from .base import SparseBackbone
from .vit import TimmViT


class SparseLVViT(TimmViT):
    """Walks LV-ViT block by block.

    In training the logits are the class token's, for the patches have a loss of their own; at
    inference half of each class's best logit among the remaining patches is added.
    """

    networks = (LVViT,)
    example = "lvvit_s"
    classifies_tokens = True
    backbone: LVViT

    def __init__(self, backbone: nn.Module, method: Method) -> None:
        """Put `method` beside `backbone`, as `SparseBackbone` does."""
        super().__init__(backbone, method)
        self.auxiliary_weight = AUXILIARY_WEIGHT

    def as_teacher(self) -> SparseBackbone:
        """Put it into evaluation mode, with the class token's logits alone, as in training."""
        self.auxiliary_weight = 0.0
        return self.eval()

    @override
    def classify(self, tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        net = self.backbone
        x = net.norm(tokens.x)
        patches = x[:, tokens.prefix :]
        token_logits = net.aux_head(patches)  # (B, N, classes)
        logits = VisionTransformer.forward_head(net, x)
        if self.training or not self.auxiliary_weight or not net.num_classes:
            return logits, patches, token_logits
        left = token_logits
        if tokens.patch_size is not None:
            left = left.masked_fill(tokens.patch_size.unsqueeze(-1) == 0, -torch.inf)
        return logits + self.auxiliary_weight * left.amax(dim=1), patches, token_logits
