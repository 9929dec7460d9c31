"""tokenthrift: spend a vision network's compute where the image needs it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import InputError
    from .modules.backbones.base import SparseBackbone, SparseOutput
    from .modules.compiled import compile_for_inference
    from .modules.cuda_graphs import graph_for_inference
    from .modules.huggingface.twin import timm_twin
    from .modules.methods.base import Method
    from .modules.query_start import start_queries
    from .modules.saving.load import load
    from .modules.schedules import KeepSchedule
    from .modules.search.found import FoundSchedule
    from .modules.search.search import search_schedule
    from .modules.student import create_student, sparsify
    from .modules.weights import Loaded, load_weights

__version__ = "0.1.0"
# Public names and the modules that have them, imported only when they are asked for.
_HOMES = {
    "FoundSchedule": ".modules.search.found",
    "InputError": ".errors",
    "KeepSchedule": ".modules.schedules",
    "Loaded": ".modules.weights",
    "Method": ".modules.methods.base",
    "SparseBackbone": ".modules.backbones.base",
    "SparseOutput": ".modules.backbones.base",
    "compile_for_inference": ".modules.compiled",
    "create_student": ".modules.student",
    "graph_for_inference": ".modules.cuda_graphs",
    "load": ".modules.saving.load",
    "load_weights": ".modules.weights",
    "search_schedule": ".modules.search.search",
    "sparsify": ".modules.student",
    "start_queries": ".modules.query_start",
    "timm_twin": ".modules.huggingface.twin",
}
__all__ = [
    "FoundSchedule",
    "InputError",
    "KeepSchedule",
    "Loaded",
    "Method",
    "SparseBackbone",
    "SparseOutput",
    "compile_for_inference",
    "create_student",
    "graph_for_inference",
    "load",
    "load_weights",
    "search_schedule",
    "sparsify",
    "start_queries",
    "timm_twin",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
