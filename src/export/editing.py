"""Reads and changes the weights and nodes of an ONNX graph."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .noise import Array


class Editor:
    """Changes a graph in place: weights at once, nodes when `finish` is called.

    Attributes:
        nodes: The graph's nodes so far; start with none and add all that stay.
        uses: How many nodes read each tensor.
    """

    def __init__(self, graph: Any) -> None:
        """Edit `graph`."""
        self._graph = graph
        self._weights = {weight.name: weight for weight in graph.initializer}
        self.nodes: list[Any] = []
        self.uses = Counter(name for node in graph.node for name in node.input)

    def holds(self, name: str) -> bool:
        """Return whether `name` is a weight, or another constant."""
        return name in self._weights

    def weight(self, name: str) -> Array:
        """Return a weight."""
        from onnx import numpy_helper

        values: Array = numpy_helper.to_array(self._weights[name])
        return values

    def change(self, name: str, values: NDArray[Any]) -> None:
        """Give a weight new values, in float."""
        from onnx import numpy_helper

        self._weights[name].CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        self._graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, name: str, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return its output, which has the node's name."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def finish(self) -> None:
        """Replace the graph's nodes by `nodes`, and remove weights that none of them reads."""
        from onnx import NodeProto

        copies = [NodeProto() for _ in self.nodes]
        for copy, node in zip(copies, self.nodes, strict=True):
            copy.CopyFrom(node)
        self._graph.ClearField("node")
        self._graph.node.extend(copies)
        read = {name for node in copies for name in node.input}
        weights = [weight for weight in self._graph.initializer if weight.name in read]
        self._graph.ClearField("initializer")
        self._graph.initializer.extend(weights)
