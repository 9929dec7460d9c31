"""Defines V-JEPA 2's encoder and attentive classifier (Assran et al. 2025, arXiv:2506.09985)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timm.layers import LayerNorm, Mlp
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.eva import Eva, EvaBlock
from torch import Tensor, nn
from torch.nn import functional as F

from .clips import FACTS
from .videomae import TubeletEmbed

# Parts of names in transformers and here.
_TRANSFORMERS = {
    "vjepa2.": "",
    "encoder.embeddings.patch_embeddings.": "patch_embed.",
    "encoder.layernorm.": "norm.",
    "encoder.layer.": "blocks.",
    "pooler.self_attention_layers.": "attn_pool.blocks.",
    "pooler.cross_attention_layer.": "attn_pool.",
    "pooler.query_tokens": "attn_pool.query",
    "classifier.": "head.",
    ".attention.": ".attn.",
    ".self_attn.out_proj.": ".attn.proj.",
    ".self_attn.": ".attn.",
    ".cross_attn.q_proj.": ".q.",
    ".cross_attn.": ".kv.",
    ".layer_norm": ".norm",
}
# Projections that transformers computes apart and one layer computes here: by a part of the first
# one's name, the joined name and the separate names, in the order in which they are joined.
_FUSED = {
    ".attn.query.": (".attn.qkv.", (".attn.query.", ".attn.key.", ".attn.value.")),
    ".attn.q_proj.": (".attn.qkv.", (".attn.q_proj.", ".attn.k_proj.", ".attn.v_proj.")),
    ".kv.k_proj.": (".kv.", (".kv.k_proj.", ".kv.v_proj.")),
}


class TubeletRope(nn.Module):
    """Holds the rotary positions of tubelets as timm's `Eva` asks for them."""

    embedding: Tensor

    def __init__(self, grid: tuple[int, int, int], head_dim: int) -> None:
        """Compute the positions of a `grid` of tubelets in time, height and width."""
        super().__init__()
        self.feat_shape = grid
        self.register_buffer("embedding", rotary_positions(grid, head_dim), persistent=False)

    def get_embed(self) -> Tensor:
        """Return the sines and, behind them, the cosines: `(N, 2 D)`."""
        return self.embedding


def rotary_positions(grid: tuple[int, int, int], head_dim: int) -> Tensor:
    """Return sines and, behind them, cosines for the channels of a head: `(N, 2 head_dim)`.

    The first third of the channels turns with the place in time, the second with the row, the last
    with the column; channels that three even thirds leave over do not turn. As in the released
    networks, this is not quite a rotation: channels 2i and 2i+1 are mixed with each other, but by
    two angles, for the D/2 angles of a third of D channels repeat as a sequence, not in pairs.

    Args:
        grid: Tubelets in time, height and width; N is their product.
        head_dim: Channels of a head.
    """
    third = 2 * (head_dim // 6)
    sides = [torch.arange(side, dtype=torch.float32) for side in grid]
    places = torch.stack(torch.meshgrid(*sides, indexing="ij"), dim=-1).flatten(0, 2)  # (N, 3)
    speeds = 1 / 10000 ** (torch.arange(third // 2, dtype=torch.float32) / (third / 2))
    angles = (places.unsqueeze(-1) * speeds).repeat(1, 1, 2).flatten(1)  # (N, 3 third)
    angles = F.pad(angles, (0, head_dim - 3 * third))
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class AttentivePooler(nn.Module):
    """Pools tokens by blocks of self-attention and a learned query that attends to their output.

    The blocks have no positions, and the query's attention has no output projection.
    """

    def __init__(self, dim: int, num_heads: int, depth: int) -> None:
        """Make `depth` blocks of `dim` channels, and the layers of the query."""
        super().__init__()
        self.num_heads, self.scale = num_heads, (dim // num_heads) ** -0.5
        self.blocks = nn.ModuleList(
            [EvaBlock(dim, num_heads, num_prefix_tokens=0, attn_type="rope") for _ in range(depth)]
        )
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        self.norm1, self.norm2 = LayerNorm(dim), LayerNorm(dim)
        self.q, self.kv = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Pool `x (B, N, C)` to `(B, C)`."""
        for block in self.blocks:
            x = block(x)
        return self.read(x, F.scaled_dot_product_attention)

    def read(self, x: Tensor, attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """Pool the output of the blocks by the query: `(B, C)`.

        Args:
            x: The output of the blocks, `(B, N, C)`.
            attend: Attention from queries `(B, H, 1, D)` to keys and values `(B, H, N, D)`.
        """
        q, k, v = (
            each.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for each in (self.q(self.query), *self.kv(self.norm1(x)).chunk(2, dim=-1))
        )
        seen = attend(q.expand(x.shape[0], -1, -1, -1), k, v).transpose(1, 2).flatten(2)
        query = self.query + seen
        return (query + self.mlp(self.norm2(query))).squeeze(1)


class VJEPA2(Eva):
    """Embeds clips by a vision transformer whose tokens know their places by rotary positions.

    Modifications of timm's `Eva`: tubelets, with positions in time, height and width, no
    class token, and another attention pooling.
    """

    def __init__(
        self,
        num_frames: int = 16,
        tubelet: int = 2,
        *,
        num_heads: int = 16,
        num_classes: int = 174,
        global_pool: str | None = None,
        pooler_depth: int = 3,
        **options: Any,
    ) -> None:
        """Take `Eva`'s arguments.

        Args:
            num_frames: Frames of a clip.
            tubelet: Frames of a tubelet.
            num_heads: Heads of each attention.
            num_classes: Outputs; 0 for the pooled embedding.
            global_pool: "map" for the attentive pooler, "avg" for the mean of the tokens; by
                default "map" for a classifier and "avg" for an embedding, as released.
            pooler_depth: Blocks of self-attention in the attentive pooler.
            options: Further arguments of `Eva`.
        """
        pooling = global_pool or ("map" if num_classes else "avg")
        own = {"class_token": False, "use_abs_pos_emb": False, "attn_type": "rope"}
        pooled = {"global_pool": "avg" if pooling == "map" else pooling, "use_fc_norm": False}
        super().__init__(
            num_heads=num_heads, num_classes=num_classes, **{**options, **own, **pooled}
        )
        old = self.patch_embed
        embed = self.patch_embed = TubeletEmbed(  # type: ignore[assignment]
            *(old.img_size, old.patch_size[0], old.proj.in_channels, self.embed_dim),
            num_frames=num_frames,
            tubelet=tubelet,
        )
        self.rope = TubeletRope(embed.grid_size, self.embed_dim // num_heads)
        self.global_pool = pooling
        if pooling == "map":
            pool = AttentivePooler(self.embed_dim, num_heads, pooler_depth)
            self.attn_pool = pool  # type: ignore[assignment]


def checkpoint_filter_fn(weights: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Rename weights of transformers' `VJEPA2Model` and `VJEPA2ForVideoClassification`.

    Pretraining's predictor is left out, and the classifier if the network only embeds.
    """
    assert isinstance(network, VJEPA2)
    named = {_own_name(key): value for key, value in weights.items()}
    left_out = ["predictor."]
    if not network.num_classes and network.attn_pool is None:
        left_out += ["attn_pool.", "head."]
    named = {key: value for key, value in named.items() if not key.startswith(tuple(left_out))}
    for word, (own, parts) in _FUSED.items():
        for key in [key for key in named if word in key]:
            joined = [named.pop(key.replace(word, part)) for part in parts]
            named[key.replace(word, own)] = torch.cat(joined)
    return named


def _own_name(key: str) -> str:
    for theirs, own in _TRANSFORMERS.items():
        key = key.replace(theirs, own, 1)
    return key


_FACTS = FACTS | {
    "num_classes": 174,
    "input_size": (3, 256, 256),
    "crop_pct": 0.875,
    "classifier": ("head", "attn_pool"),
}
_NAMES = [f"vjepa2_{size}_patch16_256" for size in ("large", "huge", "giant")]
default_cfgs = generate_default_cfgs(dict.fromkeys(_NAMES, _FACTS))


def _build(name: str, pretrained: bool, shape: dict[str, Any], options: dict[str, Any]) -> VJEPA2:
    network: VJEPA2 = build_model_with_cfg(
        VJEPA2,
        name,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        **{"img_size": 256, **shape, **options},
    )
    return network


@register_model
def vjepa2_large_patch16_256(pretrained: bool = False, **options: Any) -> VJEPA2:
    """Build 24 blocks of 1,024 channels and 16 heads over 2,048 tubelets of 16 frames."""
    shape = {"embed_dim": 1024, "depth": 24, "num_heads": 16}
    return _build("vjepa2_large_patch16_256", pretrained, shape, options)


@register_model
def vjepa2_huge_patch16_256(pretrained: bool = False, **options: Any) -> VJEPA2:
    """Build 32 blocks of 1,280 channels and 16 heads over 2,048 tubelets of 16 frames."""
    shape = {"embed_dim": 1280, "depth": 32, "num_heads": 16}
    return _build("vjepa2_huge_patch16_256", pretrained, shape, options)


@register_model
def vjepa2_giant_patch16_256(pretrained: bool = False, **options: Any) -> VJEPA2:
    """Build 40 blocks of 1,408 channels and 22 heads over 2,048 tubelets of 16 frames."""
    shape = {"embed_dim": 1408, "depth": 40, "num_heads": 22, "mlp_ratio": 48 / 11}
    return _build("vjepa2_giant_patch16_256", pretrained, shape, options)
