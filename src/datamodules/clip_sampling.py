"""Chooses which frames of a video make up a clip, in the two ways of the field."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from .video_frames import Span, Times

KINDS = ("stride", "segments")


@dataclass(frozen=True)
class ClipSampling(ABC):
    """Chooses `frames` times of a video.

    A video is divided into slots, each as long as a frame at the nominal rate; times are the
    middles of slots, so that rounded time stamps make no difference. Beyond the last slot it is
    repeated.

    Attributes:
        frames: Number of frames of a clip.
        rate: Slots per second; None takes the video's own average, so that slots are its frames.
    """

    frames: int
    rate: float | None

    @abstractmethod
    def drawn(self, slots: int) -> Tensor:
        """Return the slots `(T,)` of a training clip, drawn from PyTorch's random numbers."""

    @abstractmethod
    def spread(self, slots: int, clips: int) -> Tensor:
        """Return the slots `(clips, T)` of clips that are spread evenly over a video."""

    def training(self, span: Span) -> Times:
        """Return the times `(T,)` of one clip, in seconds."""
        return self._times(span, self.drawn(self._slots(span)))

    def evaluation(self, span: Span, clips: int) -> Times:
        """Return the times `(clips * T,)` of clips, in seconds."""
        return self._times(span, self.spread(self._slots(span), clips).flatten())

    def _slots(self, span: Span) -> int:
        return max(1, round((span.end - span.begin) * (self.rate or span.rate)))

    def _times(self, span: Span, slots: Tensor) -> Times:
        last = self._slots(span) - 1
        times: Times = span.begin + (slots.double().numpy().clip(max=last) + 0.5) / (
            self.rate or span.rate
        )
        return times


@dataclass(frozen=True)
class Strided(ClipSampling):
    """Takes every `stride`-th slot from a start on, as for Kinetics (TSN's dense sampling).

    Training draws the start; evaluation spreads clips evenly from the first possible start to the
    last, and puts a single one in the middle.
    """

    stride: int

    def drawn(self, slots: int) -> Tensor:
        """Return the slots after a random start."""
        return int(torch.randint(self._room(slots) + 1, ())) + self._steps

    def spread(self, slots: int, clips: int) -> Tensor:
        """Return the slots after evenly spaced starts."""
        room = self._room(slots)
        starts = torch.linspace(0, room, clips) if clips > 1 else torch.tensor([room / 2])
        return starts.floor().long()[:, None] + self._steps

    @property
    def _steps(self) -> Tensor:
        return self.stride * torch.arange(self.frames)

    def _room(self, slots: int) -> int:
        """Return how many slots a clip leaves over."""
        return max(0, slots - (self.frames - 1) * self.stride - 1)


@dataclass(frozen=True)
class Segmented(ClipSampling):
    """Takes one slot of each of `frames` equal segments (Wang et al., TSN, arXiv:1608.00859).

    Training draws its place in each segment; the clips of evaluation are at evenly spaced places,
    a single one in the middle.
    """

    def drawn(self, slots: int) -> Tensor:
        """Return a random slot of each segment."""
        return self._at(slots, torch.rand(self.frames, dtype=torch.double))

    def spread(self, slots: int, clips: int) -> Tensor:
        """Return slots at the same place of each segment."""
        return self._at(slots, (torch.arange(clips, dtype=torch.double)[:, None] + 0.5) / clips)

    def _at(self, slots: int, places: Tensor) -> Tensor:
        return ((torch.arange(self.frames) + places) * slots / self.frames).floor().long()


def sampling_of(kind: str, *, frames: int, stride: int, rate: float | None) -> ClipSampling:
    """Return the sampling of this name; only that called "stride" uses `stride`.

    Raises:
        InputError: If no sampling has this name.
    """
    if kind not in KINDS:
        raise InputError(f"datamodule.sampling={kind} must be {' or '.join(KINDS)}.")
    return Strided(frames, rate, stride) if kind == "stride" else Segmented(frames, rate)
