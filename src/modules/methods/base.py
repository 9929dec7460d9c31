"""The two hooks of every method that reduces the tokens of a plain transformer."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ...errors import InputError
from ..layers.attention import Attended
from ..layers.tokens import Tokens
from ..schedules import KeepSchedule


@dataclass(frozen=True)
class Geometry:
    """What a method must know of the network that it serves: channels, blocks and patches."""

    dim: int
    depth: int
    num_patches: int


class TokenReduction(nn.Module, ABC):
    """A method on the token sequence of a plain transformer; every hook is the identity here.

    `schedule` is data outside the weights and may be replaced at any time: one checkpoint runs at
    any rho.
    """

    one_head_per_location: ClassVar[bool] = False

    def __init__(self, schedule: KeepSchedule, geometry: Geometry) -> None:
        """Check that the schedule fits a network of this depth."""
        super().__init__()
        self.depth = geometry.depth
        self._check(schedule)
        self._schedule = schedule

    @property
    def schedule(self) -> KeepSchedule:
        """Where and how many."""
        return self._schedule

    @schedule.setter
    def schedule(self, schedule: KeepSchedule) -> None:
        heads = len(self._schedule.locations)
        if self.one_head_per_location and len(schedule.locations) != heads:
            raise InputError(
                f"schedule.locations={list(schedule.locations)} has {len(schedule.locations)} "
                f"entries, but this student has {heads} predictors: give {heads}."
            )
        self._check(schedule)
        self._schedule = schedule

    def _check(self, schedule: KeepSchedule) -> None:
        for location in schedule.locations:
            if location >= self.depth:
                raise InputError(
                    f"schedule.locations={list(schedule.locations)} asks for block {location}, "
                    f"but the network has {self.depth} blocks (0 to {self.depth - 1})."
                )
        for before, after in zip(schedule.ratios, schedule.ratios[1:], strict=False):
            if after > before:
                raise InputError(
                    f"schedule.ratios={list(schedule.ratios)} rises from {before:g} to {after:g}, "
                    "but a dropped token never returns: give ratios that do not rise."
                )

    def stage_at(self, layer: int) -> int | None:
        """Number of the decision that falls on block `layer`, or None."""
        locations = self.schedule.locations
        return locations.index(layer) if layer in locations else None

    def before_block(self, layer: int, tokens: Tokens) -> Tokens:
        """The tokens that enter block `layer`."""
        return tokens

    def after_attention(self, layer: int, tokens: Tokens, attended: Attended) -> Tokens:
        """The tokens that leave the attention of block `layer`, residual added, for its MLP."""
        return tokens
