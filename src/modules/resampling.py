"""Resamples weights of another image size, as timm does when it loads them.

A file does not say for which grid its positions were made: n^2 of them are taken for a square one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table
from torch import Tensor

_POSITIONS = "backbone.pos_embed"
_TABLE = ".relative_position_bias_table"


def resampled(
    network: Any, found: Mapping[str, Tensor], weights: dict[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Resample position embeddings and tables of relative positions to the network's own size.

    Only positions in a plane are resampled; others, as of clips, keep the size that the file has.

    Args:
        network: A timm network.
        found: The file's weights, by the network's names.
        weights: The same by the student's names (`backbone.*`).

    Returns:
        The weights, resampled where that is possible, and a note on each kind that was.
    """
    own: dict[str, Tensor] = {f"backbone.{k}": v for k, v in network.state_dict().items()}
    done, notes = dict(weights), []
    for key, value in weights.items():
        target = own.get(key)
        if target is None or not value.is_floating_point() or value.ndim != target.ndim:
            continue
        if value.shape == target.shape:
            continue
        if key == _POSITIONS:
            done[key] = _positions(network, value, target)
        elif key.endswith(_TABLE) and value.shape[-1] == target.shape[-1]:
            attention = network.get_submodule(key.removeprefix("backbone.").removesuffix(_TABLE))
            window = attention.window_size
            if len(window) == 2 and math.isqrt(len(value)) ** 2 == len(value):
                done[key] = resize_rel_pos_bias_table(value, window, target.shape)
    before = found.get("pos_embed")
    if before is not None and _POSITIONS in done and before.shape != done[_POSITIONS].shape:
        side, new = _side(network, before), network.patch_embed.grid_size
        notes.append(f"position embedding resampled from {side}x{side} to {new[0]}x{new[1]}")
    tables = [
        key
        for key, value in found.items()
        if key.endswith(_TABLE)
        and f"backbone.{key}" in done
        and value.shape != done[f"backbone.{key}"].shape
    ]
    if tables:
        notes.append(f"{len(tables)} tables of relative positions resampled")
    return done, notes


def _positions(network: Any, value: Tensor, target: Tensor) -> Tensor:
    prefix = _prefix(network)
    side = _side(network, value)
    square = side > 0 and side * side == value.shape[1] - prefix
    if not square or value.shape[::2] != target.shape[::2]:
        return value
    new = list(network.patch_embed.grid_size)
    if len(new) != 2:
        return value
    fitted: Tensor = resample_abs_pos_embed(value, new, num_prefix_tokens=prefix)
    return fitted


def _side(network: Any, value: Tensor) -> int:
    return math.isqrt(max(value.shape[1] - _prefix(network), 0))


def _prefix(network: Any) -> int:
    """Return how many of the tokens that have a position are not patches."""
    apart = getattr(network, "no_embed_class", False)
    return 0 if apart else int(getattr(network, "num_prefix_tokens", 1))
