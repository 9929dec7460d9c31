"""Collects what the parts of a configuration declare of their settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import TypeVar, get_type_hints

from omegaconf import DictConfig

from ..config import locate, plain_settings
from ..errors import InputError
from ..modules import optim, weighted_loss
from ..modules.networks import create
from ..ranges import Allowed, Replaced
from . import library_settings, top_level

Declared = TypeVar("Declared")


def allowed_values(config: DictConfig) -> dict[str, Allowed]:
    """Return the values that settings may have, by their full keys."""
    declared = dict(top_level.SETTINGS)
    declared |= _below("backbone", create.SETTINGS)
    declared |= _below("optimizer", optim.RANGES)
    for name in config.loss:
        declared |= _below(f"loss.{name}", weighted_loss.RANGES)
    for key, target in targets(config):
        declared |= _below(key, _of_target(target))
    return declared


def known_names(config: DictConfig) -> dict[str, Collection[str]]:
    """Return all names that the settings of a group may have, for the groups that know."""
    optimizer = optim.known_settings(plain_settings(config.optimizer, resolve=False))
    return {"backbone": create.SETTINGS.keys(), "optimizer": optimizer}


def replaced_settings(config: DictConfig) -> dict[str, Replaced]:
    """Return the settings that others may replace, by their full keys."""
    declared = _below("backbone", create.REPLACED)
    for key, target in targets(config):
        for base in _bases(target):
            declared |= _below(key, vars(base).get("replaced", {}))
    return declared


def targets(node: DictConfig, key: str = "") -> Iterator[tuple[str, object]]:
    """Find the class or function behind each `_target_` that can be imported, by its full key."""
    if "_target_" in node:
        with suppress(InputError):  # building it will report the same
            yield key, locate({"_target_": str(node["_target_"])})
    for child in node:
        inner = node._get_node(child)
        if isinstance(inner, DictConfig) and not inner._is_none() and not inner._is_interpolation():
            yield from targets(inner, f"{key}.{child!s}".lstrip("."))


def _below(key: str, names: Mapping[str, Declared]) -> dict[str, Declared]:
    return {f"{key}.{name}".lstrip("."): value for name, value in names.items()}


def _bases(target: object) -> tuple[type, ...]:
    return tuple(reversed(getattr(target, "__mro__", ())))


def _of_target(target: object) -> dict[str, Allowed]:
    """Return what a class and its bases declare in `ranges`, a function by its annotations."""
    if inspect.isfunction(target):
        return _annotated(target)
    declared: dict[str, Allowed] = {}
    for base in _bases(target):
        library = base.__module__.partition(".")[0]
        declared |= library_settings.SETTINGS.get(f"{library}.{base.__qualname__}", {})
        declared |= vars(base).get("ranges", {})
    return declared


def _annotated(function: Callable[..., object]) -> dict[str, Allowed]:
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError):  # a library's, of types that are not imported
        return {}
    return {
        name: allowed
        for name, hint in hints.items()
        for allowed in getattr(hint, "__metadata__", ())
        if isinstance(allowed, Allowed)
    }
