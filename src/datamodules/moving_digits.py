"""Draws handwritten digits that move over photographs: the embedded data of video.

A clip's class is its digit and the direction in which it moves. No single frame shows the
direction: the digit starts anywhere, leaves at one border and enters at the opposite one (a torus,
unlike the bouncing digits of Srivastava et al., arXiv:1502.04681), so that every frame's place is
uniform whatever the direction. Nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from ..ranges import Number
from .clip_labels import CLIP_LABEL, TARGET_WORDS
from .digits import Array, Digits, DrawnScenes, Sources, blend, enlarge, ink_on

DIGITS = (0, 1, 4)
MOTIONS = {"still": (0, 0), "left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
CLASSES = tuple(f"{digit} {motion}" for digit in DIGITS for motion in MOTIONS)
DIGIT = (0.4, 0.5)  # side of a digit with its margin, in image sides
SPEED = (0.05, 0.09)  # image sides a frame
NOISE = 0.01  # standard deviation of each frame's pixels, of 0..1
FRAGMENTS = 1  # of other digits, which never move


@dataclass(frozen=True)
class MovingScene:
    """Holds everything that a clip is drawn from.

    Attributes:
        ground: `(3, S, S)`, 0..1, the same in all frames.
        coverage: `(S, S)`, 0..1: where the digit's ink is while it is at the top left.
        ink: `(3, 1, 1)`, the digit's color.
        place: Top and left of the digit in the first frame, in pixels.
        step: Pixels down and right from frame to frame.
    """

    ground: Array
    coverage: Array
    ink: Array
    place: tuple[float, float]
    step: tuple[float, float]

    def frames(self, count: int) -> Array:
        """Return the first `count` frames without noise, `(3, T, S, S)`."""
        clip = np.repeat(self.ground[:, None], count, axis=1)
        for frame in range(count):
            shift = [
                round(start + frame * step)
                for start, step in zip(self.place, self.step, strict=True)
            ]
            blend(clip[:, frame], np.roll(self.coverage, shift, axis=(0, 1)), self.ink)
        return clip


class MovingScenes(DrawnScenes):
    """Draws one moving digit a clip."""

    def __init__(self, *, train: bool, num_frames: int, **settings: Any) -> None:
        """Prepare as `DrawnScenes` does; clips have `num_frames`."""
        super().__init__(train=train, **settings)
        self._frames = num_frames
        self._train = train
        self._glyphs = [np.flatnonzero(self.sources.labels == digit) for digit in DIGITS]

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return the normalized clip and its class.

        The clip is `(3, T, S, S)` in training, and a single view `(1, 3, T, S, S)` in validation.
        """
        rng = np.random.default_rng((*self._key, index))
        label = int(rng.integers(len(CLASSES)))
        clip = self.scene(rng, label).frames(self._frames)
        clip += NOISE * rng.standard_normal(clip.shape, dtype=np.float32)
        clip = (clip.clip(0, 1) - self._mean[:, None]) / self._std[:, None]
        return torch.from_numpy(clip if self._train else clip[None]), label

    def scene(self, rng: np.random.Generator, label: int) -> MovingScene:
        """Draw what a clip of class `label` shows."""
        digit, motion = divmod(label, len(MOTIONS))
        ground = self.sources.background(rng)
        ink = ink_on(rng, bright=ground.mean() < 0.5)
        for _ in range(FRAGMENTS):
            self.sources.draw_fragment(rng, ground, ink, DIGIT)
        place = tuple(rng.uniform(0, self._size, 2))
        speed = self._size * rng.uniform(*SPEED)
        down, right = (speed * sign for sign in list(MOTIONS.values())[motion])
        coverage = self._coverage(rng, self.sources, digit)
        return MovingScene(ground, coverage, ink, place, (down, right))

    def _coverage(self, rng: np.random.Generator, sources: Sources, digit: int) -> Array:
        glyph = sources.glyphs[rng.choice(self._glyphs[digit])]
        height, width = (round(self._size * rng.uniform(*DIGIT)) for _ in range(2))
        coverage = np.zeros((self._size, self._size), np.float32)
        coverage[:height, :width] = enlarge(glyph, height, width)
        return coverage


class MovingDigits(Digits):
    """Loads clips of fifteen classes: three digits, at rest or moving in one of four directions.

    Training batches are clips `(B, 3, T, S, S)`, validation batches views `(B, 1, 3, T, S, S)`;
    splits and seeds are those of `Digits`.
    """

    ranges = {"num_frames": Number(8, least=1, whole=True)}

    targets = (CLIP_LABEL,)
    target_words = TARGET_WORDS

    def __init__(self, *, num_frames: int, **digits: Any) -> None:
        """Keep the settings.

        Args:
            num_frames: Number of frames of a clip.
            **digits: Arguments of `Digits`.
        """
        super().__init__(**digits)
        self.num_frames = num_frames

    @property
    @override
    def num_classes(self) -> int:
        return len(CLASSES)

    @property
    @override
    def class_names(self) -> tuple[str, ...]:
        return CLASSES

    @override
    def _scenes(self, *, train: bool, length: int, seed: int) -> MovingScenes:
        mean, std = self.normalization
        return MovingScenes(
            train=train,
            num_frames=self.num_frames,
            length=length,
            image_size=self.image_size,
            seed=seed,
            mean=mean,
            std=std,
        )
