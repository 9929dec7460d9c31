"""Builds students, timm networks with a method beside them, and trains them on tasks."""

from .compiled import compile_for_inference
from .cuda_graphs import graph_for_inference
from .student import create_student, sparsify
from .weights import load_weights

__all__ = [
    "compile_for_inference",
    "create_student",
    "graph_for_inference",
    "load_weights",
    "sparsify",
]
