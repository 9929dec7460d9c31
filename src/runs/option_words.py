"""Finds what to type for settings that a file describes: the options of `conf` that hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..config import CONF, Settings, option

Plain = Mapping[str, object]


def backbone_words(network: str, options: Plain) -> str:
    """Return what chooses a network, as "backbone=vit_micro"; its name where no option has it.

    Args:
        network: timm's name.
        options: The arguments that made it.
    """
    best = f"backbone.network={network}"
    most = -1
    for name, settings in _options("backbone"):
        own = settings["backbone"]
        given = own.get("options") or {}
        fits = all(options.get(key) == value for key, value in given.items())
        if same_network(own["network"], network) and fits and len(given) > most:
            best, most = f"backbone={name}", len(given)
    return best


def same_network(name: str, other: str) -> bool:
    """Return whether two of timm's names are of one network, whatever weights they name."""
    return name.partition(".")[0] == other.partition(".")[0]


def method_words(method: Plain) -> str | None:
    """Return what chooses a method, as "method=asymmetric method.fast_path=mlp".

    Args:
        method: Settings as in `conf/method`.

    Returns:
        None where no option differs from it in single values alone.
    """
    found: list[list[str]] = []
    for name, settings in _options("method"):
        differing = {key: value for key, value in method.items() if settings.get(key) != value}
        typed = [f"method.{key}={_word(value)}" for key, value in differing.items()]
        plain = not any(isinstance(value, (list, dict)) for value in differing.values())
        if settings.keys() == method.keys() and "_target_" not in differing and plain:
            found.append([f"method={name}", *typed])
    if not found:
        return None
    shortest = min(found, key=len)
    return " ".join(shortest)


def _word(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _options(group: str) -> Iterator[tuple[str, Settings]]:
    for path in sorted((CONF / group).glob("*.yaml")):
        yield path.stem, option(group, path.stem)
