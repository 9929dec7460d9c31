"""How each family of networks is walked: one file a family."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from torch import nn

from ...errors import InputError
from .base import Geometry, SparseBackbone, SparseOutput

__all__ = ["Geometry", "SparseBackbone", "SparseOutput", "family_of", "family_of_class"]

_MODULES = [
    importlib.import_module(f"{__name__}.{module.name}")
    for module in pkgutil.iter_modules(__path__)
]


def family_of(network: nn.Module) -> type[SparseBackbone]:
    """The student class that walks `network`.

    Raises:
        InputError: If no family of this package knows such a network.
    """
    family = family_of_class(type(network))
    family.check(network)
    return family


def family_of_class(kind: type[nn.Module]) -> type[SparseBackbone]:
    """The same before there is a network to check."""
    families = {own: family for family in _leaves(SparseBackbone) for own in family.networks}
    known = [families[base] for base in kind.__mro__ if base in families]
    if not known:
        names = sorted(own.__name__ for own in families)
        raise InputError(
            f"{kind.__name__} is not a network that can be sparsified: give a "
            f"{', '.join(names[:-1])} or {names[-1]}."
        )
    return known[0]


def _leaves(family: Any) -> list[type[SparseBackbone]]:
    children = family.__subclasses__()
    return [leaf for child in children for leaf in _leaves(child)] if children else [family]
