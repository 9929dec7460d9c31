"""Finds settings on the command line that change nothing in this run."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter

from omegaconf import DictConfig, OmegaConf

from ..config import plain_settings
from ..modules.base import SparseModule
from .declared import replaced_settings, targets


def unused_settings(config: DictConfig, module: SparseModule, typed: list[str]) -> list[str]:
    """Return one sentence for each override that has no effect beside the others.

    Args:
        config: The composed configuration. A class in it may say in a static method
            `no_effect(student)` why it changes nothing, and in `replaced` which of its settings
            others replace.
        module: Built from it.
        typed: The command line's overrides.
    """
    keys = [override.lstrip("+~").partition("=")[0] for override in typed]
    return [
        f"{key} has no effect: {reason}."
        for prefix, reason in _unused(config, module)
        for key in keys
        if key == prefix or key.startswith(prefix + ".")
    ]


def _unused(config: DictConfig, module: SparseModule) -> Iterator[tuple[str, str]]:
    """Find groups or keys without effect, each with the reason."""
    if not _matters(config, "rho"):
        listed = OmegaConf.select(config, "schedule.rho") is None
        yield "rho", "the schedule lists its own ratios" if listed else "schedule.rho is given too"
    if reason := module.student.method.ignores_rho:
        yield "rho", reason
        yield "schedule.rho", reason
    yield from module.loss.without_effect().items()
    for key, target in sorted(targets(config), key=itemgetter(0)):
        no_effect = getattr(target, "no_effect", None)
        if no_effect and (reason := no_effect(module.student)):
            yield key, reason
    for key, (by, reason) in replaced_settings(config).items():
        value = OmegaConf.select(config, key)
        switched_off = value is None or (value == 0 and value is not False)
        if OmegaConf.select(config, by) and not switched_off:
            yield key, reason


def _matters(config: DictConfig, key: str) -> bool:
    """Return whether any other setting refers to this one."""
    changed = config.copy()
    OmegaConf.update(changed, key, None)
    before, after = plain_settings(config), plain_settings(changed)
    del before[key], after[key]
    return before != after
