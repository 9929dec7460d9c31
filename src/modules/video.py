"""Trains and evaluates students on clips."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, final

from torch import Tensor
from typing_extensions import override

from ..datamodules.clip_labels import CLIP_LABEL, TARGET_WORDS
from ..errors import InputError
from .backbones.base import SparseOutput
from .classification import LabelModule


@final
class SparseVideoClassifier(LabelModule):
    """Trains and evaluates a student on clips with one label each.

    It is trained on clips `(B, 3, T, H, W)` and evaluated on several views of each, `(B, V, 3, T,
    H, W)`, whose probabilities are averaged.
    """

    task = "video"
    target = CLIP_LABEL
    target_words: ClassVar[dict[str, str]] = TARGET_WORDS
    predictions = "src.predictions.clips.ClipTable"

    def __init__(self, **parts: Any) -> None:
        """Build student, loss and metrics; `parts` are those of `LabelModule`.

        Raises:
            InputError: If the network takes single images.
        """
        super().__init__(**parts)
        if len(self.student.input_sides()) != 3:
            raise InputError(
                f"backbone.network={parts['backbone']['network']} takes single images, and this "
                "task has clips: choose a backbone of clips, as backbone=videomae_s."
            )

    @override
    def forward(self, images: Tensor, target: object = None) -> SparseOutput:
        if images.ndim == 5:
            return self.student(images)
        output: SparseOutput = self.student(images.flatten(0, 1))
        return replace(output, logits=mean_of_views(output.logits, images.shape[1]))


def mean_of_views(logits: Tensor, views: int) -> Tensor:
    """Return the logarithm of the views' mean probabilities, `(B, C)`.

    Args:
        logits: `(B * views, C)`, the views of a clip one after the other.
        views: Number of views of a clip.
    """
    shares = logits.float().log_softmax(dim=-1).unflatten(0, (-1, views))
    return shares.logsumexp(dim=1).log_softmax(dim=-1)  # of the mean, up to a constant
