"""Draws what a method keeps, and what networks predict."""

from ..datamodules.normalization import Normalization
from .positions import draw_class_maps, draw_position_map
from .tokens import draw_disagreement, draw_token_maps

__all__ = [
    "Normalization",
    "draw_class_maps",
    "draw_disagreement",
    "draw_position_map",
    "draw_token_maps",
]
