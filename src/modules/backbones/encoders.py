"""Walks vision encoders of language models (Qwen3-VL, DeepSeek) inside timm's classifiers."""

from __future__ import annotations

from importlib import import_module
from typing import ClassVar, Protocol, cast

from timm.layers import PatchEmbed
from torch import Tensor, nn
from typing_extensions import override

from ...errors import InputError
from ..layers.predictor import size_weighted_mean
from ..layers.tokens import Tokens
from .base import Geometry
from .eva import ROPE, Blocks, SparseEva
from .timm_parts import Layer, Network
from .vit import patch_margin


class _Encoder(Protocol):
    embed_dim: int
    blocks: list[Blocks]
    patch_embed: PatchEmbed
    rope: nn.Module

    def _pos_embed(self, x: Tensor) -> tuple[Tensor, Tensor]: ...


class _Classifier(Network, Protocol):
    encoder: _Encoder
    encoder_pool: str
    global_pool: str
    norm: Layer
    forward_head: Layer


def _classifiers() -> tuple[type[nn.Module], ...]:
    """Return the classes of such classifiers that the installed timm has."""
    found: list[type[nn.Module]] = []
    for module, name in (
        ("qwen3_vit", "Qwen3VitClassifier"),
        ("deepseek_vit", "DeepseekVitClassifier"),
    ):
        try:
            found.append(getattr(import_module(f"timm.models.{module}"), name))
        except ModuleNotFoundError:
            continue
    return tuple(found)


class SparseEncoder(SparseEva):
    """Walks the encoder block by block, and weighs tokens by size in the classifier's pooling.

    Features are normalized like the pooled ones, by the classifier's norm, which has no parameters.
    """

    networks = _classifiers()
    example = "qwen3_vit_88m" if networks else None
    any_size: ClassVar[dict[str, bool] | None] = {}

    @staticmethod
    @override
    def check(network: nn.Module) -> None:
        net = cast(_Classifier, network)
        if net.encoder_pool:
            raise InputError(
                f"encoder_pool={net.encoder_pool!r} joins squares of neighboring patches, which "
                "must all be there: make the network with encoder_pool='', as qwen3_vit_88m."
            )
        if net.global_pool != "avg":
            raise InputError(
                f"global_pool={net.global_pool!r} does not pool an image to one vector: make the "
                "network with global_pool='avg'."
            )

    @staticmethod
    @override
    def margin(network: nn.Module) -> tuple[int, int] | None:
        return patch_margin(cast(nn.Module, cast(_Classifier, network).encoder))

    @staticmethod
    @override
    def geometry(network: nn.Module) -> Geometry:
        encoder = cast(_Classifier, network).encoder
        return Geometry(encoder.embed_dim, len(encoder.blocks), encoder.patch_embed.num_patches)

    @property
    @override
    def patch_embed(self) -> PatchEmbed:
        return self._classifier.encoder.patch_embed

    @override
    def embed(self, images: Tensor) -> Tokens:
        encoder = self._classifier.encoder
        x, rope = encoder._pos_embed(encoder.patch_embed(images))
        return Tokens(x, prefix=0, data={ROPE: rope[None]})

    @override
    def blocks(self) -> list[Blocks]:
        return self._classifier.encoder.blocks

    @override
    def classify(self, tokens: Tokens) -> tuple[Tensor, Tensor, None]:
        net = self._classifier
        norm = cast(Layer, getattr(net.encoder, "norm", None) or nn.Identity())
        x = norm(tokens.x)
        pooled = x if tokens.size is None else size_weighted_mean(x, tokens.size)
        return net.forward_head(pooled), net.norm(x), None

    @property
    def _classifier(self) -> _Classifier:
        return cast(_Classifier, self.backbone)
