"""Students, what they are made of, and how they learn."""

from .build import create_student, sparsify
from .checkpoints import load_weights

__all__ = ["create_student", "load_weights", "sparsify"]
