"""Registers networks that timm lacks, when this package is imported."""

from . import lvvit, micro

__all__ = ["lvvit", "micro"]
