"""Defines methods and their two kinds: on token sequences and on feature maps."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from ...errors import InputError
from ..layers.attention import Attended
from ..layers.paths import TwoPaths
from ..layers.tokens import Tokens
from ..layers.windows import WindowScores
from ..schedules import KeepSchedule


@dataclass(frozen=True)
class Geometry:
    """Describes the blocks that a method works in.

    Attributes:
        dim: Channels.
        depth: Number of blocks, of the network or of a hierarchical network's third stage.
        num_patches: Number of positions, or None where the network takes any image size.
        layer_scale: Initial factor on the branches of such blocks, or None if they have none.
        class_token: Whether the first token is the class token.
        clips: Whether the network takes clips, whose patches span several frames.
    """

    dim: int
    depth: int
    num_patches: int | None
    layer_scale: float | None = None
    class_token: bool = False
    clips: bool = False


class Method(nn.Module, ABC):
    """Decides and acts at the locations of its schedule.

    Its `schedule` is data outside the weights and may be replaced at any time: one checkpoint runs
    at any rho.

    Attributes:
        settings: Those of `conf/method` that made it; None where it was made otherwise.
        ignores_rho: Why rho changes nothing; empty where it does.
        not_exported: Why it cannot be written as a graph; empty where it can.
        one_head_per_location: Whether it has parameters for each location.
        draws_masks: Whether it learns through decisions drawn in training, which a loss term holds
            to the schedule's ratios.
        learns_by_summaries: Whether it needs an auxiliary loss (`src.modules.auxiliary`).
        former_names: Prefixes of parameter names in older and in released checkpoints, each with
            the present prefix.
        scorers: Names of the submodules that score tokens, which 8-bit files leave in float.
    """

    settings: Mapping[str, object] | None = None
    ignores_rho: str = ""
    not_exported: str = ""
    one_head_per_location: bool = False
    draws_masks: bool = False
    learns_by_summaries: bool = False
    former_names: ClassVar[Mapping[str, str]] = {}
    scorers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, schedule: KeepSchedule, geometry: Geometry) -> None:
        """Check that the schedule fits a network of this depth."""
        super().__init__()
        self.depth = geometry.depth
        self._schedule = self._followed(schedule)

    @property
    def name(self) -> str:
        """Return the name in messages and pictures: the class name by default."""
        return type(self).__name__

    @property
    def outline(self) -> str:
        """Return in words what stays where, for people who print a student."""
        if self.ignores_rho:
            return self.ignores_rho
        rho = "" if self.schedule.rho is None else f"rho={self.schedule.rho:g}, "
        kept = ", ".join(f"{ratio:.3g}" for ratio in self.schedule.ratios)
        where = ", ".join(map(str, self.schedule.locations))
        return f"{rho}keeps [{kept}] at {f'blocks {where}' if where else 'no block'}"

    @property
    def needs_training(self) -> bool:
        """Return whether it has parameters of its own, which decide arbitrarily until trained."""
        return any(True for _ in self.parameters())

    @property
    def schedule(self) -> KeepSchedule:
        """Return the locations and the keep ratios."""
        return self._schedule

    @schedule.setter
    def schedule(self, schedule: KeepSchedule) -> None:
        if not isinstance(schedule, KeepSchedule):
            raise InputError(
                f"schedule={schedule!r} is no KeepSchedule: give one, as geometric(0.5, (3, 6, 9)) "
                "of tokenthrift.modules.schedules, or set rho."
            )
        heads = len(self._schedule.locations)
        if self.one_head_per_location and len(schedule.locations) != heads:
            raise InputError(
                f"schedule.locations={list(schedule.locations)} has {len(schedule.locations)} "
                f"entries, but this student has {heads} predictors: give {heads}."
            )
        self._schedule = self._followed(schedule)

    @classmethod
    def present_name(cls, name: str) -> str:
        """Return what a checkpoint's parameter `name` is called now."""
        for former, present in cls.former_names.items():
            if name.startswith(former):
                return present + name.removeprefix(former)
        return name

    @override
    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: object, **kwargs: object
    ) -> None:
        for key in [key for key in state_dict if key.startswith(prefix)]:
            present = prefix + self.present_name(key.removeprefix(prefix))
            state_dict[present] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _followed(self, schedule: KeepSchedule) -> KeepSchedule:
        """Return `schedule` as this method follows it, or raise an `InputError` if it cannot."""
        self._check(schedule)
        return schedule

    def _check(self, schedule: KeepSchedule) -> None:
        for location in schedule.locations:
            if location >= self.depth:
                raise InputError(
                    f"schedule.locations={list(schedule.locations)} asks for block {location}, "
                    f"but there are {self.depth} blocks to decide in (0 to {self.depth - 1})."
                )

    def use_products(self) -> None:
        """Replace sorting and look-ups by matrix products, for runtimes that lack them.

        Raises:
            InputError: If this method cannot.
        """
        raise InputError(
            f"select=matmul: {self.name} has no form without look-ups; write select=topk, or "
            "choose a method that drops, fuses or absorbs what it does not select, as method=evit."
        )

    def number_at(self, layer: int) -> int | None:
        """Return the index in the schedule of the decision at block `layer`, or None."""
        locations = self.schedule.locations
        return locations.index(layer) if layer in locations else None


class TokenReduction(Method):
    """Acts on the token sequence of a plain transformer; every hook is the identity here.

    Most act at the schedule's locations: they override `decide` or `reduce`. One that acts
    elsewhere overrides `after_embedding`, `before_block`, `after_attention` or `after_mlp`.

    Attributes:
        needs_class_token: Whether it reads the class token's attention.
        needs_clips: Whether it reads how the pixels change in time.
        merges: Whether it fuses or merges tokens.
        schedule_options: Options under which it acts at the schedule's locations alone and keeps as
            many tokens there as the schedule says.
    """

    needs_class_token: bool = False
    needs_clips: bool = False
    merges: bool = False
    schedule_options: ClassVar[Mapping[str, object]] = {}

    def _check(self, schedule: KeepSchedule) -> None:
        super()._check(schedule)
        for before, after in zip(schedule.ratios, schedule.ratios[1:], strict=False):
            if after > before:
                raise InputError(
                    f"schedule.ratios={list(schedule.ratios)} rises from {before:g} to {after:g}, "
                    "but a dropped token never returns: give ratios that do not rise."
                )

    def after_embedding(self, images: Float[Tensor, "B ..."], tokens: Tokens) -> Tokens:
        """Return the tokens that enter the network, of `images (B, 3, H, W)` or clips."""
        return tokens

    def before_block(self, layer: int, tokens: Tokens) -> Tokens:
        """Return the tokens that enter block `layer`."""
        number = self.number_at(layer)
        if number is None:
            return tokens
        return self.decide(tokens, number, self.schedule.num_keep(number, tokens.num_patches))

    def after_attention(self, layer: int, tokens: Tokens, attended: Attended) -> Tokens:
        """Return the tokens that leave the attention of block `layer` for its MLP."""
        number = self.number_at(layer)
        if number is None:
            return tokens
        return self.reduce(tokens, attended, self.schedule.num_keep(number, tokens.num_patches))

    def after_mlp(self, layer: int, tokens: Tokens, moved: Float[Tensor, "B T C"]) -> Tokens:
        """Return the tokens that leave block `layer`; `moved (B, P+N, C)` is what its MLP added."""
        return tokens

    def decide(self, tokens: Tokens, number: int, count: int) -> Tokens:
        """Return the tokens that enter the block of decision `number`: `count` patches of them."""
        return tokens

    def reduce(self, tokens: Tokens, attended: Attended, count: int) -> Tokens:
        """Return the tokens that leave the attention of a location: `count` patches of them."""
        return tokens


class SpatialRouting(Method):
    """Keeps the feature map complete and lets some positions skip the blocks' MLPs.

    It works in the third resolution stage; every hook is the identity here.

    Attributes:
        needs_windows: Whether it decides by `WindowScores`, which need a `WindowedBackbone`.
    """

    needs_windows: bool = False

    def route(self, layer: int, x: Float[Tensor, "B N C"]) -> TwoPaths | WindowScores | None:
        """Decide which positions take which path from block `layer` on; None for no new decision.

        Args:
            layer: Index of the block in its stage.
            x: The positions `(B, N, C)` that enter it.
        """
        return None

    def fast(self, layer: int, x: Float[Tensor, "B N C"]) -> Float[Tensor, "B N C"]:
        """Run the fast path beside the MLP of block `layer`, `(B, N, C)` to `(B, N, C)`."""
        return x
