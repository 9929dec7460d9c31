"""Defines schedules: where a network drops tokens and how many it keeps, apart from weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral, Real
from typing import Annotated

from ..errors import InputError
from ..ranges import Listing, Number

RHO = Number(0.7, above=0, most=1)  # the base keep ratio
_EXAMPLES = {"locations": "[3,6,9]", "ratios": "[0.7,0.5,0.3]"}
Locations = Annotated[Sequence[int], Listing(_EXAMPLES["locations"])]
Ratios = Annotated[Sequence[float], Listing(_EXAMPLES["ratios"])]


@dataclass(frozen=True)
class KeepSchedule:
    """Says which share of the original patches is kept from each location on.

    Attributes:
        locations: Ascending indices of the blocks before (or in) which a decision is taken.
        ratios: Share of the image's patches kept from there on, each in (0, 1].
        rho: The base keep ratio that they follow from; None for ratios that were listed.
        rule: The function of rho and locations that makes such schedules; None if listed.
    """

    locations: tuple[int, ...]
    ratios: tuple[float, ...]
    rho: float | None = field(default=None, compare=False, repr=False)
    rule: Callable[..., KeepSchedule] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("locations", "ratios"):
            if not isinstance(values := getattr(self, name), Iterable) or isinstance(values, str):
                raise InputError(f"schedule.{name}={values!r} is no list, as {_EXAMPLES[name]}.")
            object.__setattr__(self, name, tuple(map(_plain, getattr(self, name))))
        object.__setattr__(self, "rho", _plain(self.rho))
        for location in self.locations:
            if not isinstance(location, int) or isinstance(location, bool) or location < 0:
                raise InputError(
                    f"schedule.locations={list(self.locations)} has {location!r}: "
                    "block indices are whole numbers from 0."
                )
        if any(b <= a for a, b in zip(self.locations, self.locations[1:], strict=False)):
            raise InputError(
                f"schedule.locations={list(self.locations)} must ascend, as in [3, 6, 9]."
            )
        if len(self.ratios) != len(self.locations):
            raise InputError(
                f"schedule.ratios={list(self.ratios)} has {len(self.ratios)} entries for the "
                f"{len(self.locations)} locations {list(self.locations)}: give one for each."
            )
        for ratio, location in zip(self.ratios, self.locations, strict=True):
            if not _is_number(ratio):
                raise InputError(
                    f"The keep ratio {ratio!r} at location {location} is not a number: give "
                    f"schedule.ratios as {_EXAMPLES['ratios']}."
                )
            if not 0 < ratio <= 1:
                raise InputError(
                    f"The keep ratio {_shown(ratio)} at location {location} is not in (0, 1]: "
                    "choose a larger rho or list schedule.ratios yourself (schedule=explicit)."
                )

    def at(self, rho: float) -> KeepSchedule:
        """Return the schedule that follows from another rho by the same rule.

        Raises:
            InputError: If the ratios were listed, or `rho` is not in (0, 1].
        """
        if self.rule is None:
            raise InputError(
                f"rho={_shown(rho)} cannot be set, for the ratios {list(self.ratios)} were listed: "
                "set student.method.schedule to another KeepSchedule."
            )
        return self.rule(rho, self.locations)

    def num_keep(self, number: int, num_patches: int) -> int:
        """Return how many patches are kept after decision `number`: rounded down, at least one.

        The product may fall short by a millionth, so that 0.7 - 0.2 of 196 is 98 and not 97.
        """
        return max(1, math.floor(self.ratios[number] * num_patches + 1e-6))


def geometric(rho: float, locations: Locations) -> KeepSchedule:
    """Keep rho, rho^2, rho^3, ... (paper A, section 4)."""
    _check_rho(rho)
    ratios = tuple(rho ** (i + 1) for i in range(len(locations)))
    return KeepSchedule(tuple(locations), ratios, rho, geometric)


def arithmetic(rho: float, locations: Locations, step: float = 0.2) -> KeepSchedule:
    """Keep rho, rho - step, rho - 2 step, ...: the hierarchical networks' schedule (paper B)."""
    _check_rho(rho)
    ratios = tuple(rho - step * i for i in range(len(locations)))
    return KeepSchedule(tuple(locations), ratios, rho, partial(arithmetic, step=step))


def linear(rho: float, locations: Locations) -> KeepSchedule:
    """Keep fewer at each location by equal steps from 1; the last one keeps rho."""
    _check_rho(rho)
    count = len(locations)
    ratios = tuple(1 - (1 - rho) * (i + 1) / count for i in range(count))
    return KeepSchedule(tuple(locations), ratios, rho, linear)


def constant(rho: float, locations: Locations) -> KeepSchedule:
    """Keep rho at every location: the first drops the rest, later ones may choose other patches."""
    _check_rho(rho)
    return KeepSchedule(tuple(locations), (float(rho),) * len(locations), rho, constant)


def explicit(ratios: Ratios, locations: Locations) -> KeepSchedule:
    """Keep the ratios that are listed."""
    return KeepSchedule(tuple(locations), tuple(ratios))


def evenly_spaced(depth: int, count: int = 3) -> tuple[int, ...]:
    """Return the papers' locations: after each quarter of the depth, as (3, 6, 9) of 12."""
    return tuple(sorted({depth * (i + 1) // (count + 1) for i in range(count)}))


def _check_rho(rho: float) -> None:
    if not RHO.accepts(rho):
        raise InputError(f"rho={_shown(rho)} is not a keep ratio: give a number in (0, 1], as 0.7.")


def _plain(value: object) -> object:
    """Return NumPy's numbers as Python's, which files can hold, and anything else as it is."""
    if isinstance(value, Integral) and not isinstance(value, int):
        return int(value)
    return float(value) if isinstance(value, Real) and not isinstance(value, int) else value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(value: object) -> str:
    return f"{value:g}" if _is_number(value) else repr(value)
