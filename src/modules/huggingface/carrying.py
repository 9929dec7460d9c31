"""Creates a timm network and fills it with weights under other names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from ...errors import InputError

Model = Any  # a model of transformers, a part or its configuration: each has its own attributes
Maker = Callable[[Model, int | None], nn.Module]  # from a model and the image's side in pixels
Names = Sequence[tuple[str, str]]  # regular expressions of names, and what timm calls them

TRANSFORMERS = "5.12"  # the oldest version whose models have twins

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "silu": "silu",
    "relu": "relu",
}
_JOINED = re.compile(r"(.*\.attn)\.([qkv])\.(weight|bias)")


def carry(
    name: str,
    config: Model,
    weights: Mapping[str, Tensor],
    image_size: int | None,
    **options: object,
) -> nn.Module:
    """Create timm's network `name` at the sizes of `config` and fill it with `weights`.

    Args:
        name: timm's name of a network that differs from the result in sizes and `options` alone.
        config: Configuration of a tower of transformers.
        weights: All weights, by timm's names.
        image_size: Side in pixels; the configuration's if None.
        **options: Further arguments of the network.

    Raises:
        InputError: If weights have other names, as those of another version of transformers.
    """
    side, patch = image_size or config.image_size, config.patch_size
    sizes: dict[str, Any] = {
        "img_size": side if isinstance(side, int) else tuple(side),
        "patch_size": patch if isinstance(patch, int) else tuple(patch),
        "in_chans": config.num_channels,
        "embed_dim": config.hidden_size,
        "depth": config.num_hidden_layers,
        "num_heads": config.num_attention_heads,
    }
    made_with = sizes | options
    network: Any = timm.create_model(name, **made_with)
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = config.layer_norm_eps
    others = sorted(network.state_dict().keys() ^ weights.keys())
    if others:
        raise InputError(
            "This version of transformers names the weights of the model in an unknown way "
            f"({others[0]} is missing or left over): use one from {TRANSFORMERS} on."
        )
    network.load_state_dict(weights)
    network.made_with = {k: v for k, v in made_with.items() if k != "num_classes"}
    return network  # type: ignore[no-any-return]


def activation(name: object) -> str:
    """Return timm's name of an activation.

    Raises:
        InputError: If it is not known here.
    """
    if name not in _ACTIVATIONS:
        raise InputError(f"hidden_act={name} is not one of {', '.join(_ACTIVATIONS)}.")
    return _ACTIVATIONS[str(name)]


def mlp_ratio(config: Model) -> float:
    """Return the ratio by which timm makes MLPs of `intermediate_size` channels, rounding down."""
    return (float(config.intermediate_size) + 0.5) / float(config.hidden_size)


def renamed(weights: Mapping[str, Tensor], names: Names, left_out: str = r"(?!)") -> dict:
    """Return weights by timm's names, with query, key and value joined to one matrix.

    Args:
        weights: By the model's names.
        names: Replacements, applied to each name in this order.
        left_out: Matches names of weights that timm's network does not have.
    """
    new: dict[str, Tensor] = {}
    for key, value in weights.items():
        if not re.match(left_out, key):
            for pattern, ours in names:
                key = re.sub(pattern, ours, key)
            new[key] = value.detach()
    return _joined(new)


def positions(tower: Model, stored: Tensor, prefix: int, image_size: int | None) -> Tensor:
    """Return position embeddings `(1, prefix + patches, C)` for images of a size.

    Args:
        tower: The model, whose `embeddings` interpolate positions in their own way.
        stored: Positions for the model's own size.
        prefix: Number of tokens before the patches that have a position.
        image_size: Side in pixels; None for the model's own.

    Raises:
        InputError: If patches do not divide the image.
    """
    size = tower.config.image_size
    if image_size is None or image_size == size:
        return stored
    patch = tower.config.patch_size
    if image_size % patch:
        raise InputError(f"image_size={image_size} is not a multiple of the patch size {patch}.")
    tokens = stored.new_zeros(1, prefix + (image_size // patch) ** 2, stored.shape[-1])
    with torch.no_grad():
        found: Tensor = tower.embeddings.interpolate_pos_encoding(tokens, image_size, image_size)
    return found


def _joined(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = [(key, _JOINED.fullmatch(key)) for key in weights]
    joined = {key: weights[key] for key, match in found if not match}
    for match in (match for _, match in found if match):
        where, _, kind = match.groups()
        parts = [weights[f"{where}.{letter}.{kind}"] for letter in "qkv"]
        joined[f"{where}.qkv.{kind}"] = torch.cat(parts)
    return joined
