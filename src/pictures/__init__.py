"""Pictures that show what a method does."""

from .positions import draw_class_maps, draw_position_map
from .tokens import draw_disagreement, draw_token_maps

__all__ = ["draw_class_maps", "draw_disagreement", "draw_position_map", "draw_token_maps"]
