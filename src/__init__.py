"""tokenthrift: spend a vision network's compute where the image needs it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .modules import compile_for_inference, create_student, load_weights, sparsify

__all__ = ["compile_for_inference", "create_student", "load_weights", "sparsify"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the networks only when they are asked for, so that `--help` stays light."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import modules

    return getattr(modules, name)
