"""Makes twins of DeiT (Touvron et al., 2021), which may have a distillation token."""

from __future__ import annotations

from torch import Tensor, nn

from ..carrying import Maker, Model, activation, carry, mlp_ratio, positions, renamed
from .vit import LEFT_OUT, NAMES, head


def _tower(model: Model, image_size: int | None) -> nn.Module:
    return _of_class_token(model, image_size, {})


def _classifier(model: Model, image_size: int | None) -> nn.Module:
    return _of_class_token(model.deit, image_size, head(model.classifier))


def _of_class_token(
    tower: Model, image_size: int | None, classifier: dict[str, Tensor]
) -> nn.Module:
    """Make a network that answers by its class token; the distillation token is a register."""
    weights = _weights(tower, "reg_token", image_size) | classifier
    return _carried("vit_base_patch16_224", tower, image_size, weights, reg_tokens=1)


def _both_tokens(model: Model, image_size: int | None) -> nn.Module:
    heads = head(model.cls_classifier) | head(model.distillation_classifier, "head_dist")
    weights = _weights(model.deit, "dist_token", image_size) | heads
    return _carried("deit_base_distilled_patch16_224", model.deit, image_size, weights)


def _weights(tower: Model, second: str, image_size: int | None) -> dict[str, Tensor]:
    names = (*NAMES, (r"^embeddings\.distillation_token$", second))
    weights = renamed(tower.state_dict(), names, LEFT_OUT)
    weights["pos_embed"] = positions(tower, weights["pos_embed"], 2, image_size)
    return weights


def _carried(
    name: str, tower: Model, image_size: int | None, weights: dict[str, Tensor], **options: object
) -> nn.Module:
    return carry(
        name,
        tower.config,
        weights,
        image_size,
        num_classes=len(weights.get("head.weight", ())),
        mlp_ratio=mlp_ratio(tower.config),
        qkv_bias=tower.config.qkv_bias,
        act_layer=activation(tower.config.hidden_act),
        **options,
    )


TWINS: dict[str, Maker] = {
    "DeiTModel": _tower,
    "DeiTForImageClassification": _classifier,
    "DeiTForImageClassificationWithTeacher": _both_tokens,
}
