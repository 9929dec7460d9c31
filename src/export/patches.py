"""Turns the layer that embeds patches into a matrix product whose inputs 8 bits hold exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from .editing import Editor

_IMAGES = "images"
_SMALLEST = 1e-5


def patches_as_products(model: Any, images: Tensor) -> list[str]:
    """Replace convolutions of the images' non-overlapping patches by products, in place.

    ONNX Runtime multiplies matrices in 8 bits, but runs a convolution whose output is in float in
    float. Each channel is first brought to 0 to 1 by the ends of its range, which weights and bias
    undo: where `images` hold black and white, the 256 steps of the inputs in 8 bits are those of
    the pixels, and nothing is rounded. The network in float stays the same.

    Args:
        model: A model that `export` wrote.
        images: `(n, 3, S, S)`, prepared as for evaluation.

    Returns:
        Names of the products, which are those of the convolutions.
    """
    low = images.amin(dim=(0, 2, 3)).numpy()  # (3,)
    width = (images.amax(dim=(0, 2, 3)).numpy() - low).clip(_SMALLEST)
    edit, products = Editor(model.graph), []
    for node in model.graph.node:
        side = _patch_side(node, images.shape[-2:])
        if not side:
            edit.nodes.append(node)
            continue
        products.append(node.name)
        kernel = edit.weight(node.input[1])  # (out, 3, p, p)
        bias = np.einsum("ocij,c->o", kernel, low)
        if len(node.input) > 2:
            bias = bias + edit.weight(node.input[2])
        matrix = (kernel * width[None, :, None, None]).reshape(len(kernel), -1).T
        rows, columns = (pixels // side for pixels in images.shape[-2:])
        shapes = {
            "split": (0, len(low), rows, side, columns, side),
            "flat": (0, rows * columns, len(matrix)),
            "map": (0, len(kernel), rows, columns),
        }
        name = node.name
        constants = {key: np.array(shape, dtype=np.int64) for key, shape in shapes.items()}
        constants |= {
            "low": low[:, None, None],
            "scale": (1 / width)[:, None, None],
            "weight": matrix.astype(np.float32),
            "bias": bias.astype(np.float32),
        }
        of = {key: edit.constant(f"{name}_{key}", value) for key, value in constants.items()}
        x = edit.add(f"{name}_from_low", "Sub", _IMAGES, of["low"])
        x = edit.add(f"{name}_scaled", "Mul", x, of["scale"])
        x = edit.add(f"{name}_split_up", "Reshape", x, of["split"])
        x = edit.add(f"{name}_patches", "Transpose", x, perm=[0, 2, 4, 1, 3, 5])
        x = edit.add(f"{name}_rows", "Reshape", x, of["flat"])
        x = edit.add(name, "MatMul", x, of["weight"])
        edit.nodes[-1].metadata_props.extend(node.metadata_props)
        x = edit.add(f"{name}_biased", "Add", x, of["bias"])
        x = edit.add(f"{name}_turned", "Transpose", x, perm=[0, 2, 1])
        edit.add(f"{name}_map_of", "Reshape", x, of["map"])
        edit.nodes[-1].output[0] = node.output[0]
    edit.finish()
    return products


def _patch_side(node: Any, sides: tuple[int, ...]) -> int:
    """Return the side of the patches that a node embeds, or 0 if it does something else."""
    if node.op_type != "Conv" or node.input[0] != _IMAGES:
        return 0
    given = {entry.name: list(entry.ints) or entry.i for entry in node.attribute}
    side = given["strides"][0]
    square = given["kernel_shape"] == given["strides"] == [side, side] and given["group"] == 1
    padded = any(given["pads"]) or given["dilations"] != [1, 1]
    return side if square and not padded and not any(pixels % side for pixels in sides) else 0
