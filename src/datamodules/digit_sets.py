"""Draws several handwritten digits on a photograph; the target is the set of these digits.

The embedded data of multi-label classification; nothing is downloaded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .digits import Digits, DrawnScenes
from .label_sets import LABELS, TARGET_WORDS
from .scenes import CrowdedScenes


class SetScenes(DrawnScenes):
    """Draws the images of `CrowdedScenes`, each with the set of its digits."""

    def __init__(self, **settings: Any) -> None:
        """Prepare as `DrawnScenes` does, by the same arguments."""
        super().__init__(**settings)
        self.scenes = CrowdedScenes(**settings)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the normalized image `(3, S, S)` and, for each digit, 1 if it occurs, `(10,)`."""
        image, scene = self.scenes[index]
        present = torch.zeros(10)
        present[scene["labels"] - 1] = 1
        return image, present


class DigitSets(Digits):
    """Loads drawn images with one to five of ten classes.

    Splits and seeds are those of `Digits`.
    """

    targets = (LABELS,)
    target_words = TARGET_WORDS
    scenes = SetScenes
