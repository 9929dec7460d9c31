"""Makes twins of ViT (Dosovitskiy et al., 2021): timm's `vit_*`."""

from __future__ import annotations

from torch import Tensor, nn

from ..carrying import Maker, Model, activation, carry, mlp_ratio, positions, renamed

NAMES = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"^layers\.(\d+)\.attention\.([qkv])_proj", r"blocks.\1.attn.\2"),
    (r"^layers\.(\d+)\.attention\.o_proj", r"blocks.\1.attn.proj"),
    (r"^layers\.(\d+)\.layernorm_before", r"blocks.\1.norm1"),
    (r"^layers\.(\d+)\.layernorm_after", r"blocks.\1.norm2"),
    (r"^layers\.(\d+)\.mlp", r"blocks.\1.mlp"),
    (r"^layernorm", "norm"),
)
LEFT_OUT = r"pooler|embeddings\.mask_token"


def _tower(model: Model, image_size: int | None) -> nn.Module:
    return _twin(model, image_size, {})


def _classifier(model: Model, image_size: int | None) -> nn.Module:
    return _twin(model.vit, image_size, head(model.classifier))


def _twin(tower: Model, image_size: int | None, classifier: dict[str, Tensor]) -> nn.Module:
    weights = renamed(tower.state_dict(), NAMES, LEFT_OUT) | classifier
    weights["pos_embed"] = positions(tower, weights["pos_embed"], 1, image_size)
    return carry(
        "vit_base_patch16_224",
        tower.config,
        weights,
        image_size,
        num_classes=len(classifier.get("head.weight", ())),
        mlp_ratio=mlp_ratio(tower.config),
        qkv_bias=tower.config.qkv_bias,
        act_layer=activation(tower.config.hidden_act),
    )


def head(classifier: nn.Module, name: str = "head") -> dict[str, Tensor]:
    """Return a classifier's weights by timm's names; an identity has none."""
    return {f"{name}.{key}": value.detach() for key, value in classifier.state_dict().items()}


TWINS: dict[str, Maker] = {"ViTModel": _tower, "ViTForImageClassification": _classifier}
