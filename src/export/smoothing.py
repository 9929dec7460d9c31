"""Brings the channels of a layer's inputs to like ranges, so that 8 bits round them less."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from .editing import Editor
from .noise import Array

# Of 0.5 to 1 the values 0.75 to 0.85 give the least noise before the first location of DeiT-Ti.
ALPHA = 0.8
ONE_SIDED = 0.1  # the largest share of a range below 0 that counts as none, as after GELU
_SMALLEST = 1e-5

Ranges = dict[str, tuple[Array, Array]]
Samples = dict[str, Array]


def smooth(
    model: Any, layers: Collection[str], explicit: Collection[str], seen: Ranges, samples: Samples
) -> None:
    """Shift and scale the inputs of layers, which weights and biases undo, in place.

    Source: the scale is that of SmoothQuant (Xiao et al., ICML 2023, Eq. 4); the shift to the
    middle of a channel's range that of Outlier Suppression+ (Wei et al., EMNLP 2023, Eq. 2 and 5).
    With inputs x, middles c and scales s the layer computes ((x - c) / s) (s W) + (b + c W), the
    same in float. A norm that feeds one layer alone takes over shift and scale, at no cost.

    Args:
        model: A model that `export` wrote.
        layers: Names of the nodes that multiply by weights.
        explicit: Those of them whose inputs may be shifted and scaled by nodes of their own.
        seen: Least and largest inputs of each channel, by tensor; new tensors are added.
        samples: Inputs, by tensor; new tensors are added.
    """
    graph = model.graph
    edit = Editor(graph)
    makers = {output: node for node in graph.node for output in node.output}
    readers = {name: node for node in graph.node for name in node.input}
    for node in graph.node:
        edit.nodes.append(node)
        if node.name not in layers or node.op_type != "MatMul" or edit.uses[node.input[1]] > 1:
            continue
        name, weight = node.input
        norm = makers.get(name)
        parts = norm.input[1:] if norm is not None else []
        folds = norm is not None and norm.op_type == "LayerNormalization" and edit.uses[name] == 1
        folds = folds and all(edit.uses[part] == 1 for part in parts)
        if not folds and node.name not in explicit:
            continue
        low, high = seen[name]
        matrix = edit.weight(weight)  # (in, out)
        bias = _bias(edit, node, readers)
        shifts = bool(bias) and (len(parts) == 2 or not folds)
        center, scale = middle_and_scale(low, high, matrix, shifts)
        edit.change(weight, matrix * scale[:, None])
        if bias:
            edit.change(bias, edit.weight(bias) + center @ matrix)
        if folds:
            edit.change(parts[0], edit.weight(parts[0]) / scale)
            if len(parts) == 2:
                edit.change(parts[1], (edit.weight(parts[1]) - center) / scale)
            new = name
        else:
            edit.nodes.pop()
            new = name
            if center.any():
                middle = edit.constant(f"{node.name}_middle", center)
                new = edit.add(f"{node.name}_shifted", "Sub", new, middle)
            factor = edit.constant(f"{node.name}_factor", 1 / scale)
            new = edit.add(f"{node.name}_scaled", "Mul", new, factor)
            node.input[0] = new
            edit.nodes.append(node)
        seen[new] = (low - center) / scale, (high - center) / scale
        samples[new] = (samples[name] - center) / scale
    edit.finish()


def middle_and_scale(low: Array, high: Array, matrix: Array, shifts: bool) -> tuple[Array, Array]:
    """Return the shift and the scale of each input channel `(in,)`.

    Args:
        low: The least value of each channel.
        high: The largest.
        matrix: Weights `(in, out)`.
        shifts: Whether the layer can undo a shift. Inputs that are nowhere far below 0 are not
            shifted: their many zeros stay exact.
    """
    one_sided = -low.min() < ONE_SIDED * high.max()
    middle = (low + high) / 2 if shifts and not one_sided else np.zeros_like(low)
    center: Array = middle.astype(np.float32)
    reach = np.maximum(high - center, center - low).clip(_SMALLEST)
    largest = np.abs(matrix).max(axis=1).clip(_SMALLEST)
    ratio = reach**ALPHA / largest ** (1 - ALPHA)
    scale: Array = (ratio / np.median(ratio)).astype(np.float32)
    return center, scale


def _bias(edit: Editor, node: Any, readers: dict[str, Any]) -> str:
    """Return the name of the bias that is added to a layer's output alone, or an empty string."""
    output = node.output[0]
    adder = readers.get(output)
    if adder is None or adder.op_type != "Add" or edit.uses[output] > 1:
        return ""
    other = adder.input[1] if adder.input[0] == output else adder.input[0]
    alone = edit.holds(other) and edit.uses[other] == 1
    return other if alone and edit.weight(other).ndim == 1 else ""
