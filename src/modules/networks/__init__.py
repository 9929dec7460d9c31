"""Registers networks that timm lacks, when this package is imported."""

from . import frames, lvvit, micro, swin3d, videomae, vjepa2

__all__ = ["frames", "lvvit", "micro", "swin3d", "videomae", "vjepa2"]
