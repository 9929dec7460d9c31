"""tokenthrift: spend a vision network's compute where the image needs it."""

from .modules import create_student, load_weights, sparsify

__all__ = ["create_student", "load_weights", "sparsify"]
__version__ = "0.1.0"
