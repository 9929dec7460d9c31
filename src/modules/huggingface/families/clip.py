"""Makes twins of CLIP's image tower (Radford et al., 2021), with a projection if it has one."""

from __future__ import annotations

from torch import Tensor, nn

from ..carrying import Maker, Model, activation, carry, mlp_ratio, positions, renamed

LAYERS = (
    (r"^embeddings\.patch_embedding", "patch_embed.proj"),
    (r"^encoder\.layers\.(\d+)\.", r"blocks.\1."),
    (r"\.self_attn\.([qkv])_proj", r".attn.\1"),
    (r"\.self_attn\.out_proj", ".attn.proj"),
    (r"\.layer_norm([12])", r".norm\1"),
    (r"^post_layernorm", "norm"),
)
_NAMES = (*LAYERS, (r"^pre_layrnorm", "norm_pre"), (r"^embeddings\.class_embedding$", "cls_token"))
_LEFT_OUT = r"embeddings\.position_"


def _tower(model: Model, image_size: int | None) -> nn.Module:
    return _twin(model, image_size, {})


def _projected(model: Model, image_size: int | None) -> nn.Module:
    weight = model.visual_projection.weight.detach()
    head = {"head.weight": weight, "head.bias": weight.new_zeros(len(weight))}
    return _twin(model.vision_model, image_size, head)


def _twin(tower: Model, image_size: int | None, head: dict[str, Tensor]) -> nn.Module:
    weights = renamed(tower.state_dict(), _NAMES, _LEFT_OUT) | head
    weights["cls_token"] = weights["cls_token"].view(1, 1, -1)
    stored = tower.embeddings.position_embedding.weight.detach().unsqueeze(0)
    weights["pos_embed"] = positions(tower, stored, 1, image_size)
    return carry(
        "vit_base_patch16_clip_224",
        tower.config,
        weights,
        image_size,
        num_classes=len(head.get("head.weight", ())),
        mlp_ratio=mlp_ratio(tower.config),
        act_layer=activation(tower.config.hidden_act),
    )


TWINS: dict[str, Maker] = {
    "CLIPVisionModel": _tower,
    "CLIPVisionModelWithProjection": _projected,
    "CLIPModel": _projected,
}
