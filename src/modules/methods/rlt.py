"""Drop what does not change in a clip (run-length tokens: Choudhury et al., NeurIPS 2024)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from ...errors import InputError
from ..layers.tokens import Tokens
from ..schedules import KeepSchedule, constant
from .base import Geometry, TokenReduction


class RLT(TokenReduction):
    """Drops the tubelets of a clip that differ least from the same place one tubelet earlier.

    It acts once, on pixels and before the first block (arXiv:2411.05222, section 3). The change of
    a tubelet is the mean absolute difference of its last frame from the first frame of the tubelet
    before it; the first tubelet of each place always stays. The last survivor before a dropped
    tubelet stands for it: sizes are run lengths, which attention and pooling read instead of the
    paper's length embedding. Nothing is learned: the method works off the shelf.
    """

    needs_clips = True
    merges = True

    def __init__(
        self, schedule: KeepSchedule, geometry: Geometry, threshold: float | None = None
    ) -> None:
        """Choose how many tubelets stay.

        Args:
            schedule: Without `threshold` each clip keeps the share rho of its tubelets, or the
                first of listed ratios, from the first block on; none are dropped at its locations.
            geometry: Sizes of the network.
            threshold: Change of normalized pixels below which a tubelet is dropped, as in the paper
                (0.1 there). Clips of a batch then keep different numbers, and the shorter ones are
                padded with tokens of size 0; such a student cannot be exported.

        Raises:
            InputError: If `threshold` is not a number from 0.
        """
        number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
        if threshold is not None and not (number and threshold >= 0):
            raise InputError(
                f"method.threshold={threshold!r} is not a change of pixels: give a number from 0, "
                "as 0.1, or null to keep a fixed share."
            )
        super().__init__(schedule, geometry)
        self.threshold = threshold

    @override
    def _followed(self, schedule: KeepSchedule) -> KeepSchedule:
        if schedule.locations:
            kept = schedule.ratios[0] if schedule.rho is None else schedule.rho
            schedule = constant(kept, schedule.locations)
        return super()._followed(schedule)

    @property
    @override
    def outline(self) -> str:
        if self.threshold is not None or not self.schedule.locations:
            return super().outline
        return f"keeps {self.schedule.ratios[0]:.3g} of the tubelets from the first block on"

    @property
    @override
    def ignores_rho(self) -> str:  # type: ignore[override]
        return "" if self.threshold is None else "method.threshold says which tubelets stay"

    @property
    @override
    def not_exported(self) -> str:  # type: ignore[override]
        if self.threshold is None:
            return ""
        return "with method.threshold its shapes depend on the clip, so give rho instead"

    @override
    def after_embedding(self, images: Float[Tensor, "B ..."], tokens: Tokens) -> Tokens:
        if self.threshold is None and not self.schedule.locations:
            return tokens
        assert tokens.grid is not None
        frames, rows, columns = tokens.grid
        change = changes(images, tokens.grid).permute(0, 2, 3, 1).flatten(1)  # time comes last
        if self.threshold is None:
            count = max(self.schedule.num_keep(0, tokens.num_patches), rows * columns)
            stay = torch.zeros_like(change).scatter(1, change.topk(count).indices, 1.0)
        else:
            stay = (change >= self.threshold).to(change.dtype)
            # On the meta device, where costs are counted, pixels have no values: count all tokens.
            count = tokens.num_patches if stay.is_meta else int(stay.sum(dim=1).max())
        run = stay.cumsum(dim=1).long() - 1  # (B, N); the first tubelet of a place starts a run
        run, stay = (
            each.unflatten(1, (rows, columns, frames)).permute(0, 3, 1, 2).flatten(1)
            for each in (run, stay)
        )
        return tokens.merge(run, count, weight=stay)


def changes(clips: Float[Tensor, "B C T H W"], grid: tuple[int, ...]) -> Float[Tensor, "B t h w"]:
    """Return how much each tubelet differs from the one before it; the first are infinite.

    Args:
        clips: `(B, 3, T, H, W)`.
        grid: Tubelets in time, height and width.
    """
    length = clips.shape[2] // grid[0]
    first, last = clips[:, :, ::length], clips[:, :, length - 1 :: length]  # (B, 3, t, H, W) each
    change = (last[:, :, 1:] - first[:, :, :-1]).abs().mean(dim=1)
    change = F.pad(change.float(), (0, 0, 0, 0, 1, 0), value=torch.inf)
    sides = [pixels // number for pixels, number in zip(clips.shape[3:], grid[1:], strict=True)]
    return F.avg_pool2d(change, sides)
