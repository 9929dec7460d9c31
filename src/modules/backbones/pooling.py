"""Pools, as plain transformers do, tokens that stand for none, one or several patches."""

from __future__ import annotations

from typing import cast

import torch
from timm.layers import AttentionPoolLatent
from torch import Tensor, nn

from ...errors import InputError
from ..layers.attention import attend_from
from ..layers.predictor import size_weighted_mean
from ..layers.tokens import Tokens
from .timm_parts import PlainTransformer

_POOLINGS = ("token", "avg", "max", "avgmax", "map")


def check_pooling(network: nn.Module) -> None:
    """Raise an `InputError` if `network` has a head that cannot pool tokens by their sizes."""
    net = cast(PlainTransformer, network)
    pool = _latent_pool(network)
    if pool is not None:
        if type(pool) is not AttentionPoolLatent or pool.pos_embed is not None:
            raise InputError(
                f"Pooling by {type(pool).__name__} cannot weigh tokens by size: the "
                "network must use timm's AttentionPoolLatent without positions of its own, or "
                "global_pool='token' or 'avg'."
            )
    elif net.global_pool not in _POOLINGS:
        raise InputError(
            f"global_pool={net.global_pool!r} does not pool an image to one vector: make the "
            f"network with global_pool={', '.join(map(repr, _POOLINGS[:-1]))} or "
            f"{_POOLINGS[-1]!r}."
        )


def pool_and_classify(network: nn.Module, x: Tensor, tokens: Tokens) -> Tensor:
    """Run the network's own head on `x (B, P+N, C)`; pooling over tokens weighs them by size.

    Raises:
        InputError: If the head has a second classifier, which timm trains apart (DeiT, distilled).
    """
    net = cast(PlainTransformer, network)
    if network.training and getattr(net, "distilled_training", False):
        raise InputError(
            "set_distilled_training(True) makes two sets of logits in training, of which a student "
            "has one: call set_distilled_training(False), which averages them."
        )
    pool = _latent_pool(network)
    if tokens.size is None or (pool is None and net.global_pool in ("token", "")):
        return net.forward_head(x)
    # Timm's Eva, which has no such setting, leaves the prefix out only where it does not attend.
    skip = 0 if getattr(net, "pool_include_prefix", pool is not None) else tokens.prefix
    x, size = x[:, skip:], tokens.size[:, skip:]
    pooled = _attended(pool, x, size) if pool is not None else _pooled(net.global_pool, x, size)
    return net.head(net.head_drop(net.fc_norm(pooled)))


def _latent_pool(network: nn.Module) -> AttentionPoolLatent | None:
    pool: AttentionPoolLatent | None = getattr(network, "attn_pool", None)  # some cannot have it
    return pool


def _pooled(pooling: str, x: Tensor, size: Tensor) -> Tensor:
    mean = size_weighted_mean(x, size).squeeze(1)
    if pooling == "avg":
        return mean
    counts = (size > 0).unsqueeze(-1)
    largest = torch.where(counts, x, torch.finfo(x.dtype).min).amax(dim=1)
    largest = torch.where(counts.any(dim=1), largest, 0.0)
    return largest if pooling == "max" else 0.5 * (largest + mean)


def _attended(pool: AttentionPoolLatent, x: Tensor, size: Tensor) -> Tensor:
    """Run timm's `AttentionPoolLatent.forward` on `x (B, T, C)`, reading `size (B, T)`."""
    heads = (pool.num_heads, pool.head_dim)
    query = pool.q(pool.latent.expand(x.shape[0], -1, -1)).unflatten(-1, heads).transpose(1, 2)
    key, value = pool.kv(x).unflatten(-1, (2, *heads)).permute(2, 0, 3, 1, 4)  # (B, H, T, D) each
    mixed = attend_from(pool.q_norm(query), pool.k_norm(key), value, size, pool.scale)
    out = pool.proj_drop(pool.proj(mixed.transpose(1, 2).flatten(2)))  # (B, latents, C)
    if pool.mlp is not None:
        out = out + pool.mlp(pool.norm(out))
    if pool.pool == "token":
        return out[:, 0]
    return out.mean(1) if pool.pool == "avg" else out
