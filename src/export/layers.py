"""Finds the linear layers of an ONNX file, and cuts the file down to some of its outputs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

KINDS = ("MatMul", "Gemm", "Conv")
_MODULES = ("torch.nn.modules.linear.Linear", "torch.nn.modules.conv.Conv2d")


def linear_layers(model: Any, floating: Collection[str], kinds: Collection[str]) -> list[str]:
    """Return the names of the nodes that multiply by a layer's weights, in their order.

    Args:
        model: A model that `export` wrote: each node names the modules that it belongs to.
        floating: Paths of modules whose layers are left out, such as `student.method.selector`.
        kinds: Which operators of `KINDS`.
    """
    weights = {weight.name for weight in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in kinds and node.input[1] in weights
        if any(module in namespace(node) for module in _MODULES)
        if not any(f"{path}{end}" in namespace(node) for path in floating for end in ".:")
    ]


def namespace(node: Any) -> str:
    """Return the modules that a node belongs to, from the outermost on."""
    said = {entry.key: entry.value for entry in node.metadata_props}
    return str(said.get("namespace", ""))


def layer_name(node: Any) -> str:
    """Return the path of the innermost module of a node, such as `blocks.0.mlp.fc1`."""
    modules = [part for part in namespace(node).split("/") if ": " in part]
    paths = [part.split(": ")[0] for part in modules if not part.endswith(".default")]
    return paths[-1].removeprefix("student.").removeprefix("backbone.") if paths else node.name


def keep_outputs(model: Any, names: Collection[str]) -> None:
    """Remove all outputs but `names`, with everything that only the removed ones needed."""
    graph = model.graph
    kept = [output for output in graph.output if output.name in names]
    needed, nodes = {output.name for output in kept}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    parts = {
        "output": kept,
        "node": nodes[::-1],
        "initializer": [each for each in graph.initializer if each.name in needed],
        "value_info": [each for each in graph.value_info if each.name in needed],
    }
    for field, values in parts.items():
        graph.ClearField(field)
        getattr(graph, field).extend(values)
