"""Registers networks that timm lacks, when this package is imported."""

from . import lvvit, micro, videomae

__all__ = ["lvvit", "micro", "videomae"]
