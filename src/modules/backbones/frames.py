"""Walks a vision transformer of images over the frames of a clip."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from typing_extensions import override

from ..layers.tokens import Tokens
from ..networks.frames import FramesViT, frames_of
from .base import SparseOutput, Step
from .vit import SparseViT


class SparseFrames(SparseViT):
    """Walks the frames of clips `(B, 3, T, H, W)` as a batch of B T images.

    A method decides in each frame independently and keeps equally many patches in each. The output
    of a clip has the patches of all its frames, frame after frame.
    """

    networks = (FramesViT,)
    example = "frames_vit_small_patch16_224"
    any_size = None
    backbone: FramesViT

    @override
    def input_sides(self, image_size: int | tuple[int, int] | None = None) -> tuple[int, ...]:
        return self.backbone.num_frames, *super().input_sides(image_size)

    @override
    def embed(self, images: Tensor) -> Tokens:
        return super().embed(frames_of(images, self.backbone.num_frames))

    @override
    def _output(
        self, tokens: Tokens, steps: tuple[Step, ...], maps: tuple[Tensor, ...] = ()
    ) -> SparseOutput:
        output = super()._output(tokens, steps, maps)
        return replace(
            output,
            logits=self._clips(output.logits).mean(dim=1),
            features=self._clips(output.features).flatten(1, 2),
            size=self._clips(output.size).flatten(1, 2),
            steps=tuple(
                replace(
                    step,
                    keep=self._clips(step.keep).flatten(1, 2),
                    count=self._clips(step.count).sum(dim=1),
                    source=self._source(step.source, step.keep.shape[1]),
                )
                for step in output.steps
            ),
            source=self._source(output.source, output.features.shape[1]),
            maps=tuple(self._clips(each).transpose(1, 2) for each in output.maps),
            summaries=tuple(self._clips(each).mean(dim=1) for each in output.summaries),
            grid=(self.backbone.num_frames, *(tokens.grid or ())),
        )

    def _clips(self, frames: Tensor) -> Tensor:
        """Turn `(B T, ...)` into `(B, T, ...)`."""
        return frames.unflatten(0, (-1, self.backbone.num_frames))

    def _source(self, source: Tensor | None, stride: int) -> Tensor | None:
        """Number the tokens of each frame, at most `stride`, behind those of the frame before."""
        if source is None:
            return None
        clips = self._clips(source)  # (B, T, patches)
        starts = stride * torch.arange(clips.shape[1], device=clips.device).unsqueeze(1)
        return torch.where(clips < 0, clips, clips + starts).flatten(1, 2)
