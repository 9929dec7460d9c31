"""Defines the students of each family of timm networks, one file per family."""

from __future__ import annotations

import importlib
import pkgutil

from torch import nn

from ...errors import InputError
from .base import Geometry, SparseBackbone, SparseOutput

__all__ = ["Geometry", "SparseBackbone", "SparseOutput", "family_of", "family_of_class"]

_MODULES = [
    importlib.import_module(f"{__name__}.{module.name}")
    for module in pkgutil.iter_modules(__path__)
]
_NAMES = {module.__name__ for module in _MODULES}


def family_of(network: nn.Module) -> type[SparseBackbone]:
    """Return the student class for `network`.

    Raises:
        InputError: If no family knows such a network.
    """
    if not isinstance(network, nn.Module):
        raise InputError(
            f"network is a {type(network).__name__}: give a network, as "
            "timm.create_model('deit_small_patch16_224')."
        )
    if isinstance(network, SparseBackbone):
        raise InputError(
            f"This {type(network).__name__} is a student already: set its rho or "
            "method.schedule, or give its backbone for another method."
        )
    try:
        family = family_of_class(type(network))
    except InputError as error:
        if inside := _first_inside(network):
            raise InputError(
                f"{type(network).__name__} is not a network that can be sparsified, but its "
                f"{inside} is: give that, and put the student in its place."
            ) from error
        raise
    family.check(network)
    return family


def _first_inside(network: nn.Module) -> str | None:
    """Return the name of the first part that a family walks, as what compiles or wraps has one."""
    known = tuple(own for family in _declared() for own in family.networks)
    parts = network.named_modules()
    return next((name for name, part in parts if isinstance(part, known)), None)


def family_of_class(kind: type[nn.Module]) -> type[SparseBackbone]:
    """Return the student class for networks of class `kind`, without checking any instance.

    Raises:
        InputError: If no family knows the class.
    """
    families = {own: family for family in _declared() for own in family.networks}
    known = [families[base] for base in kind.__mro__ if base in families]
    if not known:
        names = [
            own.__name__ + (f" (as {family.example})" if family.example else "")
            for own, family in families.items()
        ]
        raise InputError(
            f"{kind.__name__} is not a network that can be sparsified: give a "
            f"{', '.join(names[:-1])} or {names[-1]}."
        )
    return known[0]


def _declared() -> list[type[SparseBackbone]]:
    """List the families whose own class body names `networks`, those of this package last.

    A subclass without `networks` changes nothing; of two that name the same class the last counts.
    """
    declared = [family for family in _descendants(SparseBackbone) if "networks" in vars(family)]
    return sorted(declared, key=lambda family: (family.__module__ in _NAMES, family.__name__))


def _descendants(family: type) -> list[type[SparseBackbone]]:
    children: list[type] = family.__subclasses__()
    return children + [leaf for child in children for leaf in _descendants(child)]
