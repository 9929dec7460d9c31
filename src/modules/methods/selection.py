"""A method as a selector, which scores tokens, and a disposal of those that it leaves out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from typing_extensions import override

from ..layers.attention import Attended
from ..layers.tokens import Tokens
from ..schedules import KeepSchedule
from .base import Geometry, TokenReduction
from .disposals.base import Disposal, Ranking
from .selectors.base import Selector


class Selection(TokenReduction):
    """At each location the `num_keep` best patch tokens go on; the disposal gets the others.

    Training and inference compute the same: tokens are removed in both, so that a training step is
    as much cheaper as inference is.
    """

    def __init__(
        self,
        schedule: KeepSchedule,
        geometry: Geometry,
        selector: Callable[[KeepSchedule, Geometry], Selector],
        disposal: Disposal,
    ) -> None:
        """Combine the two.

        Args:
            schedule: Where and how many.
            geometry: Of the network.
            selector: Makes the selector for this schedule and network; its class does.
            disposal: What becomes of the tokens that are not selected.
        """
        super().__init__(schedule, geometry)
        self.selector = selector(schedule, geometry)
        self.disposal = disposal
        self.merges = disposal.merges
        self.needs_class_token = self.selector.needs_class_token
        self.one_head_per_location = self.selector.one_head_per_location
        self.learns_by_summaries = self.selector.learns_by_summaries

    @property
    @override
    def name(self) -> str:
        if type(self) is not Selection:
            return super().name
        return f"{type(self.selector).__name__} with {type(self.disposal).__name__}"

    @override
    def before_block(self, layer: int, tokens: Tokens) -> Tokens:
        return tokens if self.selector.reads_attention else self._select(layer, tokens, None)

    @override
    def after_attention(self, layer: int, tokens: Tokens, attended: Attended) -> Tokens:
        return self._select(layer, tokens, attended) if self.selector.reads_attention else tokens

    def _select(self, layer: int, tokens: Tokens, attended: Attended | None) -> Tokens:
        number = self.number_at(layer)
        if number is None:
            return tokens
        score = self.selector.score(tokens, number, attended)  # (B, N)
        summary = self.selector.summary(tokens, score) if self.training else None
        if summary is not None:
            tokens = replace(tokens, summaries=(*tokens.summaries, summary))
        count = self.schedule.num_keep(number, tokens.num_patches)
        if count >= score.shape[1]:
            return tokens
        order = score.detach().argsort(dim=1, descending=True)
        return self.disposal(tokens, Ranking(order, count, score), attended)
