"""Draws several handwritten digits on a photograph, with the mask and the box of each.

The embedded data of segmentation and detection; nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from .digit_sources import blend, enlarge, ink_on
from .digits import Digits, DrawnScenes
from .preprocessing import FRAME, Preprocessing
from .targets import Target, collate

DIGITS = (2, 5)  # least and most in a scene; fewer where there is no room
DIGIT = (0.25, 0.4)  # side of a digit with its margin, in image sides
FRAGMENTS = 4
TRIES = 20  # to find a free place


class CrowdedScenes(DrawnScenes):
    """Draws several digits a scene.

    The target has `mask`, 0 for the ground and d + 1 for digit d, and for each digit `boxes`,
    `labels`, `masks` and `iscrowd` (all 0).
    """

    collate = staticmethod(collate)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        """Return the normalized image `(3, S, S)` and its target."""
        rng = np.random.default_rng((*self._key, index))
        ground = self.sources.background(rng)
        image = ground.copy()
        for _ in range(FRAGMENTS):
            ink = ink_on(rng, bright=ground.mean() < 0.5)
            self.sources.draw_fragment(rng, image, ink, DIGIT)
        labels, masks = [], []
        for top, left, height, width in self._places(rng):
            which = int(rng.integers(len(self.sources.labels)))
            spot = (slice(top, top + height), slice(left, left + width))
            box = image[:, spot[0], spot[1]]
            box[:] = ground[:, spot[0], spot[1]]
            coverage = enlarge(self.sources.glyphs[which], height, width)
            blend(box, coverage, ink_on(rng, bright=box.mean() < 0.5))
            mask = np.zeros(image.shape[1:], np.uint8)
            mask[spot] = coverage > 0.5
            masks.append(mask)
            labels.append(int(self.sources.labels[which]) + 1)
        normalized = torch.from_numpy((image - self._mean) / self._std)
        return normalized, _target(torch.tensor(labels), torch.from_numpy(np.stack(masks)))

    def _places(self, rng: np.random.Generator) -> list[tuple[int, int, int, int]]:
        """Draw boxes that do not overlap, as top, left, height, width: at least one."""
        places: list[tuple[int, int, int, int]] = []
        for _ in range(int(rng.integers(DIGITS[0], DIGITS[1] + 1))):
            for _ in range(TRIES):
                height, width = (round(self._size * rng.uniform(*DIGIT)) for _ in range(2))
                top, left = (int(rng.integers(self._size - n + 1)) for n in (height, width))
                if all(
                    top + height <= t or t + h <= top or left + width <= x or x + w <= left
                    for t, x, h, w in places
                ):
                    places.append((top, left, height, width))
                    break
        return places


def _target(labels: Tensor, masks: Tensor) -> Target:
    boxes = []
    for mask in masks:
        rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return {
        "mask": (labels[:, None, None] * masks).amax(dim=0),
        "boxes": torch.tensor(boxes, dtype=torch.float32),
        "labels": labels,
        "iscrowd": torch.zeros_like(labels),
        "masks": masks,
    }


class CrowdedDigits(Digits):
    """Loads scenes whose pixels and boxes have eleven classes: the ground and ten digits.

    Splits and seeds are those of `Digits`; a batch is images and a list of targets.
    """

    targets = ("mask", "boxes")
    scenes = CrowdedScenes

    @property
    def num_classes(self) -> int:
        """Return 11: the ground, class 0, and the ten digits."""
        return 11

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the ground's name and the numerals."""
        return ("ground", *map(str, range(10)))

    @property
    @override
    def preprocessing(self) -> Preprocessing:
        return replace(super().preprocessing, interpolation="bilinear", crop_mode=FRAME)
