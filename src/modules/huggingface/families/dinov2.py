"""Makes twins of DINOv2 (Oquab et al., 2023), also with registers (Darcet et al., 2023)."""

from __future__ import annotations

import torch
from torch import nn

from ..carrying import Maker, Model, activation, carry, positions, renamed

# Layers have the names of transformers 5.12 or those of 5.24.
_NAMES = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"\.attention\.([qkv])_proj", r".attn.\1"),
    (r"\.attention\.o_proj", ".attn.proj"),
    (r"\.attention\.attention\.([qkv])[a-z]+", r".attn.\1"),
    (r"\.attention\.output\.dense", ".attn.proj"),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"\.mlp\.weights_in", ".mlp.fc1"),
    (r"\.mlp\.(weights_out|down_proj)", ".mlp.fc2"),
    (r"^layernorm", "norm"),
)


def _tower(model: Model, image_size: int | None) -> nn.Module:
    config = model.config
    weights = renamed(model.state_dict(), _NAMES, r"embeddings\.mask_token")
    place = positions(model, weights["pos_embed"], 1, image_size)
    options: dict[str, object] = {}
    if "reg_token" in weights:  # timm adds no position to prefix tokens then
        weights["cls_token"] = weights["cls_token"] + place[:, :1]
        place = place[:, 1:]
        options = {"reg_tokens": config.num_register_tokens, "no_embed_class": True}
    weights["pos_embed"] = place
    if config.use_swiglu_ffn:
        name = "vit_giant_patch14_dinov2"
        for gate in [key for key in weights if ".gate_proj." in key]:  # else they are joined
            up = gate.replace(".gate_proj.", ".up_proj.")
            joined = gate.replace(".gate_proj.", ".fc1.")
            weights[joined] = torch.cat([weights.pop(gate), weights.pop(up)])
        hidden = len(weights["blocks.0.mlp.fc1.bias"])
        options["mlp_ratio"] = (hidden + 0.5) / config.hidden_size
    else:
        name = "vit_base_patch14_dinov2"
        options |= {"mlp_ratio": config.mlp_ratio, "act_layer": activation(config.hidden_act)}
    return carry(
        name, config, weights, image_size, num_classes=0, qkv_bias=config.qkv_bias, **options
    )


TWINS: dict[str, Maker] = {"Dinov2Model": _tower, "Dinov2WithRegistersModel": _tower}
