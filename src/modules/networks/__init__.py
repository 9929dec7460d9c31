"""Networks that timm lacks, registered with it when this package is imported."""

from . import lvvit, micro

__all__ = ["lvvit", "micro"]
