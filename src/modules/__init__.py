"""Students, what they are made of, and how they learn."""

from .build import create_student, sparsify
from .checkpoints import load_weights
from .compiled import compile_for_inference

__all__ = ["compile_for_inference", "create_student", "load_weights", "sparsify"]
