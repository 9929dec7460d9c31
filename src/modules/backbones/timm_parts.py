"""Declares what walkers read of timm's networks, which have no such types themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypedDict, TypeVar

from timm.layers import PatchEmbed
from torch import Tensor, nn

Layer = Callable[[Tensor], Tensor]
BlockT = TypeVar("BlockT", bound=Layer)


class FeatureInfo(TypedDict):
    """Describes the map that a stage makes."""

    num_chs: int
    reduction: int


class Network(Protocol):
    """Declares what walkers read of every network."""

    num_classes: int
    head_hidden_size: int
    pretrained_cfg: dict[str, Any]
    feature_info: Sequence[FeatureInfo]

    def get_classifier(self) -> nn.Module:
        """Return the classifier."""

    def group_matcher(self, coarse: bool) -> Any:
        """Return by which names parameters are grouped into layers."""

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute blocks anew in the backward pass."""

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier."""


class PlainTransformer(Network, Protocol):
    """Declares what walkers read of every plain transformer."""

    patch_embed: PatchEmbed
    embed_dim: int
    blocks: Sequence[nn.Module]
    cls_token: Tensor | None
    norm: Layer
    global_pool: str
    fc_norm: Layer
    head_drop: Layer
    head: Layer
    forward_head: Layer


class Scaled(Protocol):
    """Declares the factor on an attention's logits, and whether fused kernels choose it."""

    scale: float
    fused_attn: bool


class Projection(Protocol):
    """Declares the output projection of an attention."""

    proj: Layer
    proj_drop: Layer


class Stage(Protocol[BlockT]):
    """Declares what walkers read of a hierarchical network's stage."""

    downsample: Layer
    blocks: Sequence[BlockT]
