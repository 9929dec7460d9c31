"""Combines a selector, which scores tokens, with a disposal of those that are not selected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ..layers.attention import Attended
from ..layers.tokens import Tokens
from ..schedules import KeepSchedule
from .base import Geometry, TokenReduction
from .disposals.base import Disposal, Ranking
from .selectors.base import Seen, Selector


class Selection(TokenReduction):
    """Keeps the `num_keep` best patch tokens at each location; the disposal gets the others.

    Training removes tokens as inference does, so that a step is as much cheaper as inference is;
    only a selector that draws its decisions (`Selector.draw`) masks them in training instead.
    """

    scorers = ("selector",)

    def __init__(
        self,
        schedule: KeepSchedule,
        geometry: Geometry,
        selector: Callable[[KeepSchedule, Geometry], Selector],
        disposal: Disposal,
    ) -> None:
        """Combine a selector with a disposal.

        Args:
            schedule: Locations and keep ratios.
            geometry: Sizes of the network.
            selector: Makes the selector of schedule and geometry; usually its class.
            disposal: What becomes of the tokens that are not selected.
        """
        super().__init__(schedule, geometry)
        self.selector = selector(schedule, geometry)
        self.disposal = disposal
        self.merges = disposal.merges
        self.needs_class_token = self.selector.needs_class_token
        self.one_head_per_location = self.selector.one_head_per_location
        self.draws_masks = self.selector.draws_masks
        self.learns_by_summaries = self.selector.learns_by_summaries

    @property
    @override
    def name(self) -> str:
        if type(self) is not Selection:
            return super().name
        return f"{type(self.selector).__name__} with {type(self.disposal).__name__}"

    @override
    def _check(self, schedule: KeepSchedule) -> None:
        super()._check(schedule)
        if "selector" in self._modules:
            self.selector.check(schedule)

    @override
    def before_block(self, layer: int, tokens: Tokens) -> Tokens:
        if self.selector.reads != "tokens":
            return tokens
        return self._select(self.number_at(layer), tokens, Seen())

    @override
    def after_attention(self, layer: int, tokens: Tokens, attended: Attended) -> Tokens:
        if self.selector.reads != "attention":
            return tokens
        return self._select(self.number_at(layer), tokens, Seen(attended=attended))

    @override
    def after_mlp(self, layer: int, tokens: Tokens, moved: Float[Tensor, "B T C"]) -> Tokens:
        if self.selector.reads != "mlp":
            return tokens
        return self._select(self.number_at(layer + 1), tokens, Seen(moved=moved))

    @override
    def use_products(self) -> None:
        disposal = self.disposal.by_products()
        if disposal is None:
            super().use_products()
        else:
            self.disposal = disposal

    def _select(self, number: int | None, tokens: Tokens, seen: Seen) -> Tokens:
        if number is None:
            return tokens
        if self.draws_masks and self.training:
            return tokens.mask(self.selector.draw(tokens, number))
        score = self.selector.score(tokens, number, seen)  # (B, N)
        if tokens.patch_size is not None:  # one without patches is never selected
            score = score.masked_fill(tokens.patch_size == 0, -torch.inf)
        summary = self.selector.summary(tokens, score) if self.training else None
        if summary is not None:
            tokens = replace(tokens, summaries=(*tokens.summaries, summary))
        count = self.schedule.num_keep(number, tokens.num_patches)
        if count >= score.shape[1]:
            return tokens
        return self.disposal(tokens, Ranking(score, self.selector.weight(score), count))
