"""Loads clips of videos with one class each, in any layout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2
from typing_extensions import NotRequired, Unpack, override

from ..errors import InputError
from ..ranges import Kind, Number, Pair
from .clip_files import ClipFiles
from .clip_labels import CLIP_LABEL, TARGET_WORDS
from .clip_sampling import ClipSampling, sampling_of
from .clip_transforms import Crops, augmented
from .inputs import InputConfig
from .labelled_clips import LabelledClips, ReadClip
from .labelled_module import LabelledModule
from .mixing import MixingDataModule, MixingSettings
from .video_decoding import decoder_of
from .video_frames import Decode


class VideoSettings(MixingSettings):
    """Types the arguments of `VideoModule`, which its subclasses pass on."""

    num_frames: int
    sampling: str
    stride: int
    rate: float | None
    views: Mapping[str, int]
    decoder: str
    on_bad_image: str
    scale: Sequence[float]
    ratio: NotRequired[Sequence[float]]
    hflip: float


@dataclass(frozen=True)
class TrainingClip:
    """Makes a training clip `(3, T, S, S)` from a video."""

    decode: Decode
    sampling: ClipSampling
    transform: v2.Transform

    def __call__(self, path: str) -> Tensor:
        """Draw a new clip at every call, from PyTorch's random numbers."""
        frames = self.decode(path, self.sampling.training)
        clip: Tensor = self.transform(frames.pixels[frames.places])
        return clip


@dataclass(frozen=True)
class EvaluationViews:
    """Makes the views `(V, 3, T, S, S)` of a video: the crops of each clip, clip after clip."""

    decode: Decode
    sampling: ClipSampling
    crops: Crops
    clips: int

    def __call__(self, path: str) -> Tensor:
        """Return the same views at every call."""
        frames = self.decode(path, partial(self.sampling.evaluation, clips=self.clips))
        views = self.crops(frames.pixels)[:, :, frames.places]
        return torch.cat(list(views.unflatten(2, (self.clips, -1)).unbind(2)))


@dataclass(frozen=True)
class MiddleClip:
    """Makes a clip `(3, T, S, S)` as evaluation does, of a video's middle in time and space."""

    decode: Decode
    sampling: ClipSampling
    config: InputConfig

    def __call__(self, path: str) -> Tensor:
        """Return the same clip at every call."""
        crop = Crops(self.config, 1)
        return EvaluationViews(self.decode, self.sampling, crop, clips=1)(path)[0]


class VideoModule(LabelledModule, MixingDataModule, ABC):
    """Loads clips of the videos of `source`.

    Training batches are clips `(B, 3, T, S, S)` with labels `(B,)`, evaluation batches views
    `(B, V, 3, T, S, S)`, whose outputs a task averages.
    """

    ranges = {
        "num_frames": Number(16, least=1, whole=True),
        "stride": Number(4, least=1, whole=True),
        "rate": Number(30, above=0, optional=True),
        "views": Kind(dict, "of the form {clips: 1, crops: 1}", needed=False),
        "views.clips": Number(5, least=1, whole=True),
        "views.crops": Number(3, least=1, whole=True),
        "scale": Pair("[0.08,1.0]", Number(0.5, above=0, most=1), ascending=True),
        "ratio": Pair("[0.75,1.33]", Number(0.75, above=0), ascending=True),
        "hflip": Number(0.5, least=0, most=1),
    }

    targets = (CLIP_LABEL,)
    target_words = TARGET_WORDS

    def __init__(
        self,
        *,
        num_frames: int,
        sampling: str,
        stride: int,
        rate: float | None,
        views: Mapping[str, int],
        decoder: str,
        on_bad_image: str,
        scale: Sequence[float],
        hflip: float,
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        **loading: Unpack[MixingSettings],
    ) -> None:
        """Keep the settings; nothing is read before `check`.

        Args:
            num_frames: Number of frames of a clip.
            sampling: "stride" takes every `stride`-th frame, "segments" one of each of
                `num_frames` equal parts of the video.
            stride: In frames at the nominal rate.
            rate: The nominal rate in frames a second; None for each video's own average.
            views: `clips` in time times `crops` along the longer side, in evaluation.
            decoder: "pyav" or "torchcodec".
            on_bad_image: What to do about a video that cannot be read: "error" or "skip".
            scale: Least and greatest share of the area in a training crop.
            hflip: Probability of a flip; 0 where classes tell left from right.
            ratio: Least and greatest width over height of a training crop.
            loading: Arguments of `MixingDataModule`.
        """
        super().__init__(on_bad_image=on_bad_image, **loading)
        if set(views) != {"clips", "crops"}:
            raise InputError(
                f"datamodule.views={dict(views)} must have clips and crops: write "
                "{clips: 1, crops: 1}."
            )
        self.num_frames = num_frames
        self._sampling = sampling_of(sampling, frames=num_frames, stride=stride, rate=rate)
        self._clips, self._crops = views["clips"], views["crops"]
        self._decoder = decoder
        self._transform = augmented(self.input_config, scale=scale, ratio=ratio, hflip=hflip)
        self.input_config = replace(self.input_config, crop_pct=1.0, crop_mode="center")

    @property
    @abstractmethod
    def source(self) -> ClipFiles:
        """Return the source of both parts: the same object at every call."""

    @property
    def views(self) -> int:
        """Return how many views of a video an evaluation averages."""
        return self._clips * self._crops

    @override
    def check(self, stage: str = "fit", processes: int = 1) -> None:
        """Check as the base does, and that the first video can be read unless bad ones are skipped.

        Raises:
            InputError: One sentence on what is wrong.
        """
        decoder_of(self._decoder)
        super().check(stage, processes)
        if not self.skip:
            self.val_dataset()[0]

    @override
    def train_dataset(self) -> Dataset[tuple[Tensor, int]]:
        decode = decoder_of(self._decoder)
        return self._dataset(True, TrainingClip(decode, self._sampling, self._transform))

    @override
    def val_dataset(self) -> Dataset[tuple[Tensor, int]]:
        crops = Crops(self.input_config, self._crops)
        decode = decoder_of(self._decoder)
        return self._dataset(False, EvaluationViews(decode, self._sampling, crops, self._clips))

    @override
    def plain_train_dataset(self) -> Dataset[tuple[Tensor, int]]:
        decode = decoder_of(self._decoder)
        return self._dataset(True, MiddleClip(decode, self._sampling, self.input_config))

    def _dataset(self, training: bool, read: ReadClip) -> Dataset[tuple[Tensor, int]]:
        clips = LabelledClips(self.source.samples(training), read)
        return self.readable(training, clips) if self.skip else clips
