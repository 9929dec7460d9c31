"""Finds settings on the command line that change nothing in this run."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..modules.base import SparseModule


def unused_settings(config: DictConfig, module: SparseModule, typed: list[str]) -> list[str]:
    """Return one sentence for each override that has no effect beside the others.

    Args:
        config: The composed configuration.
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
    """Groups or keys without effect, and why."""
    setting = partial(OmegaConf.select, config)
    learned = any(True for _ in module.student.method.parameters())
    if not _matters(config, "rho"):
        listed = setting("schedule.rho") is None
        yield "rho", "the schedule lists its own ratios" if listed else "schedule.rho is given too"
    if reason := module.student.method.ignores_rho:
        yield "rho", reason
        yield "schedule.rho", reason
    for name in module.loss.left_out:
        yield f"loss.{name}", "this method does not learn from it"
    if not learned:
        yield "callbacks.freeze_backbone", "this method has no new parameters that must settle"
        yield "loss.keep_ratio", "this method learns nothing that decides"
    if not module.loss.needs_teacher:
        yield "task.teacher", "no loss term asks the teacher"
    if setting("datamodule.mixup"):
        yield "loss.classification.smoothing", "mixup makes the labels soft by itself"
    if setting("backbone.weights"):
        yield "backbone.pretrained", "backbone.weights is loaded instead"
    if setting("datamodule.auto_augment") and setting("datamodule.color_jitter"):
        yield "datamodule.color_jitter", "datamodule.auto_augment jitters instead"


def _matters(config: DictConfig, key: str) -> bool:
    """Whether any other setting refers to this one."""
    changed = config.copy()
    OmegaConf.update(changed, key, None)
    resolved: list[Any] = [OmegaConf.to_container(c, resolve=True) for c in (config, changed)]
    for container in resolved:
        del container[key]
    return bool(resolved[0] != resolved[1])
