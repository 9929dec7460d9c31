"""Names what tasks learn from clips: one label each."""

from __future__ import annotations

CLIP_LABEL = "clip_label"  # the target's name
TARGET_WORDS = {CLIP_LABEL: "a class for each clip"}
