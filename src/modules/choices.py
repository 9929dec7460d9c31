"""Turns the arguments of `sparsify` into settings of a method and into a schedule."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from ..config import Settings, instantiate, locate, option
from ..errors import InputError
from .methods.base import Method
from .schedules import KeepSchedule

RATIOS = "(0.7, 0.49, 0.343)"  # an example for messages
_GIVEN = ("schedule", "geometry")  # arguments that every method is given
_PACKAGE = __name__.split(".")[0]
# A method's settings as in `conf/method`, or a function of schedule and geometry that makes it.
MethodLike = Settings | Callable[..., Method]


def choose_method(method: str | type[Method], options: Settings) -> MethodLike:
    """Return the settings of a method of this package, or a function that makes one of another.

    Raises:
        InputError: If there is no such method, or it has no such option.
    """
    settings = option("method", method) if isinstance(method, str) else None
    kind = method if settings is None else locate(settings)
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise InputError(f"method={method!r} is neither a name in conf/method nor a Method class.")
    known = [name for name in inspect.signature(kind).parameters if name not in _GIVEN]
    for name, value in options.items():
        if name not in known:
            called = method if isinstance(method, str) else kind.__name__
            raise InputError(
                f"{name}={value!r} is not an option of the method {called}, which has "
                f"{', '.join(known) or 'none'}."
            )
    package, _, place = kind.__module__.partition(".")
    if settings is None and package != _PACKAGE:
        return partial(kind, **options)
    return {"_target_": f"src.{place}.{kind.__qualname__}", **(settings or {}), **options}


def schedule_name(
    rho: float | None, ratios: Sequence[float] | None, schedule: str | None
) -> str | None:
    """Return the name of the schedule that these arguments choose, None for the network's own.

    Raises:
        InputError: If two of them contradict each other.
    """
    if ratios is None:
        return schedule
    if rho is not None:
        raise InputError(
            f"rho={rho!r} and ratios={ratios!r} both say how many tokens stay: give one of them."
        )
    if schedule not in (None, "explicit"):
        raise InputError(
            f"schedule={schedule!r} and ratios={ratios!r} both say how many tokens stay: leave the "
            "schedule out, or give rho instead of ratios."
        )
    return "explicit"


def choose_schedule(
    name: str,
    rho: float | None,
    ratios: Sequence[float] | None,
    locations: Sequence[int],
) -> KeepSchedule:
    """Make the schedule `name` from rho, by default 0.7, or from listed ratios.

    Raises:
        InputError: One sentence on what does not fit.
    """
    settings = option("schedule", name)
    if ratios is not None:
        given: dict[str, object] = {"ratios": listed("ratios", ratios, RATIOS)}
    elif "rho" in settings:
        given = {"rho": 0.7 if rho is None else rho}
    else:
        raise InputError(f"schedule='explicit' has no ratios: give them, as ratios={RATIOS}.")
    given["locations"] = listed("locations", locations, "(3, 6, 9)")
    made: KeepSchedule = instantiate(settings | given)
    return made


def listed(name: str, values: object, example: str) -> list[object]:
    """Return the entries of `values`, or raise an `InputError` if it is not a list."""
    if not isinstance(values, Iterable) or isinstance(values, str):
        raise InputError(f"{name}={values!r} must be a list of numbers, as {example}.")
    return list(values)
