"""Defines what every student returns: logits, features and the decisions taken."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """Describes one decision: what is left of the image's patches from its location on.

    Attributes:
        location: The block before (in a hierarchical network's third stage: in) which it was taken.
        ratio: The keep ratio that the schedule asks for.
        keep: `(B, patches)`, 1 = keep.
        count: `(B,)`, patch tokens that go on.
        source: `(B, patches)`, for each patch the token that stands for it, -1 where none does;
            None where each stands for itself.
    """

    location: int
    ratio: float
    keep: Tensor
    count: Tensor
    source: Tensor | None = None

    def shares(self) -> Tensor:
        """Return each patch's share of a token, `(B, patches)`, at inference.

        1 for a patch with a token of its own, 1/s for one that shares it with s - 1 others, 0 for a
        dropped one.
        """
        if self.source is None:
            return self.keep
        index = self.source.clamp(min=0)
        together = torch.zeros_like(self.keep).scatter_add(1, index, self.keep)
        return self.keep / together.gather(1, index).clamp(min=1)


@dataclass(frozen=True)
class SparseOutput:
    """Holds what a student returns, in the same shapes in every mode; N patch tokens are left.

    Attributes:
        logits: `(B, classes)`; of a network without a classifier its pooled embedding `(B, D)`.
        features: `(B, N, C)`, normed patch features after the last block.
        size: `(B, N)`, patches that each feature stands for; 0 is pruned.
        steps: One for each location.
        source: `(B, patches)`, for each patch the feature that stands for it, -1 where none does;
            None where each stands for itself.
        token_logits: `(B, N, classes)` of networks that classify each token too (LV-ViT).
        covered: Height and width in pixels that patches cover, where they leave a margin of the
            image or reach beyond it; or None.
        maps: Complete maps `(B, C, H, W)`, one for each stage, if asked for (`with_maps`).
        grid: Rows and columns of the patches, of clips places in time before them; None where the
            network does not know them.
        summaries: In training, for each location what its selector learns from, `(B, C)`; empty
            for methods that need no auxiliary loss.
    """

    logits: Tensor
    features: Tensor
    size: Tensor
    steps: tuple[Step, ...] = ()
    source: Tensor | None = None
    token_logits: Tensor | None = None
    maps: tuple[Tensor, ...] = ()
    covered: tuple[int, int] | None = None
    grid: tuple[int, ...] | None = None
    summaries: tuple[Tensor, ...] = ()

    @property
    def decisions(self) -> list[Tensor]:
        """Return the `keep` of each step."""
        return [step.keep for step in self.steps]

    @property
    def counts(self) -> list[Tensor]:
        """Return the `count` of each step."""
        return [step.count for step in self.steps]

    def kept_shares(self) -> Tensor:
        """Return the share of the patches that go on at each step, `(S, B)`, without gradients."""
        if not self.steps:
            return self.logits.new_zeros(0, len(self.logits))
        return torch.stack(self.counts).detach() / self.steps[0].keep.shape[1]
