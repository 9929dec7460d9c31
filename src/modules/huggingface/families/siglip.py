"""Makes twins of the image tower of SigLIP (Zhai et al., 2023), and of SigLIP 2 at a fixed size."""

from __future__ import annotations

from torch import Tensor, nn

from ....errors import InputError
from ..carrying import Maker, Model, activation, carry, mlp_ratio, positions, renamed
from .clip import LAYERS

_NAMES = (
    (r"^head\.probe$", "attn_pool.latent"),
    (r"^head\.attention\.out_proj", "attn_pool.proj"),
    (r"^head\.layernorm", "attn_pool.norm"),
    (r"^head\.mlp", "attn_pool.mlp"),
    *LAYERS,
)
_LEFT_OUT = r"embeddings\.position_|head\.attention\.in_proj"


def _both_towers(model: Model, image_size: int | None) -> nn.Module:
    return _tower(model.vision_model, image_size)


def _tower(model: Model, image_size: int | None) -> nn.Module:
    config = model.config
    if not getattr(config, "vision_use_head", True):  # older transformers 5 say False alone
        raise InputError(
            "This SiglipVisionModel has vision_use_head=False, so that nothing pools its tokens: "
            "give one with its head."
        )
    weights = renamed(model.state_dict(), _NAMES, _LEFT_OUT) | _attention(model.head.attention)
    stored = model.embeddings.position_embedding.weight.detach().unsqueeze(0)
    weights["pos_embed"] = positions(model, stored, 0, image_size)
    return carry(
        "vit_base_patch16_siglip_224",
        config,
        weights,
        image_size,
        num_classes=0,
        mlp_ratio=mlp_ratio(config),
        act_layer=activation(config.hidden_act),
    )


def _attention(attention: nn.MultiheadAttention) -> dict[str, Tensor]:
    """Return the pooling's query, key and value weights, which timm keeps in two matrices."""
    weights = {}
    for kind in ("weight", "bias"):
        joined = attention.get_parameter(f"in_proj_{kind}").detach()
        channels = len(joined) // 3
        weights[f"attn_pool.q.{kind}"] = joined[:channels]
        weights[f"attn_pool.kv.{kind}"] = joined[channels:]
    return weights


TWINS: dict[str, Maker] = {"SiglipVisionModel": _tower, "SiglipModel": _both_towers}
