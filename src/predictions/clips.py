"""Writes the class of each video as a table, over views of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from typing_extensions import override

from ..datamodules.clip_sampling import ClipSampling, sampling_of
from ..datamodules.clip_transforms import Crops
from ..datamodules.inputs import InputConfig
from ..datamodules.unlabelled import FileKind, Photograph
from ..datamodules.unlabelled_batches import UnlabelledFiles
from ..datamodules.video_decoding import decoder_of
from ..datamodules.video_frames import SUFFIXES, Decode
from ..errors import InputError
from ..modules.heads.base import Output
from ..modules.video import mean_of_views
from .base import Drawn, Reading
from .labels import LabelTable
from .single import rows_of

# What an evaluation of `conf/datamodule/kinetics.yaml` does, for a network of other data.
_KINETICS: dict[str, Any] = {
    "sampling": "stride",
    "stride": 4,
    "rate": None,
    "decoder": "pyav",
    "views": {"clips": 1, "crops": 1},
}


class UnlabelledClips(UnlabelledFiles):
    """Reads videos as views `(V, 3, T, S, S)`, as an evaluation does."""

    def __init__(
        self,
        files: Sequence[Photograph],
        decode: Decode,
        sampling: ClipSampling,
        crops: Crops,
        clips: int,
    ) -> None:
        """Keep how videos are read; `clips` are taken in time."""
        super().__init__(files)
        self._decode, self._crops, self._clips = decode, crops, clips
        self._times = partial(sampling.evaluation, clips=clips)

    @override
    def prepared(self, path: Path) -> tuple[Tensor, tuple[int, int]]:
        frames = self._decode(str(path), self._times)
        views = self._crops(frames.pixels)[:, :, frames.places].unflatten(2, (self._clips, -1))
        height, width = frames.pixels.shape[-2:]
        return torch.cat(list(views.unbind(2))), (width, height)

    @override
    def original(self, path: Path) -> Image.Image:
        frames = self._decode(str(path), lambda span: np.array([(span.begin + span.end) / 2]))
        return Image.fromarray(frames.pixels[0].permute(1, 2, 0).numpy())


class ClipTable(LabelTable):
    """Writes `file,prediction,confidence` of videos, and the further classes of `top_k` likewise.

    Probabilities are averaged over the views that the data's settings ask for. A picture shows the
    frames of the middle view in a row.
    """

    inputs: ClassVar[FileKind] = FileKind("videos", SUFFIXES)

    @classmethod
    @override
    def reading(cls, files: Sequence[Photograph], how: Reading) -> UnlabelledFiles:
        if len(how.sides) != 3:
            raise InputError(
                f"The network takes single images of {how.sides[-1]} pixels, and task=video has "
                "clips: give a network of clips, or another task."
            )
        of = {key: how.data.get(key, value) for key, value in _KINETICS.items()}
        ready = how.preprocessing
        config = InputConfig(
            input_size=(3, *how.sides[1:]),
            mean=ready.mean,
            std=ready.std,
            interpolation=ready.interpolation,
            crop_pct=1.0,
            crop_mode="center",
        )
        sampling = sampling_of(
            of["sampling"], frames=how.sides[0], stride=of["stride"], rate=of["rate"]
        )
        crops = Crops(config, of["views"]["crops"])
        return UnlabelledClips(
            files, decoder_of(of["decoder"]), sampling, crops, of["views"]["clips"]
        )

    @classmethod
    @override
    def inputs_of(cls, images: Tensor) -> Tensor:
        return images[:, images.shape[1] // 2]

    @classmethod
    @override
    def run(cls, network: nn.Module, images: Tensor) -> Output:
        views = images.shape[1]
        output = network(images.flatten(0, 1))
        mean = mean_of_views(output.logits, views)
        middle = rows_of(output, slice(views // 2, None, views))
        return replace(middle, logits=mean)

    @override
    def draw(self, image: Drawn, output: Output) -> Image.Image:
        middle = image.pixels[:, image.pixels.shape[1] // 2]
        return super().draw(image._replace(pixels=middle), output)
