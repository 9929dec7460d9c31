"""The run that a checkpoint comes from, as the defaults of its evaluation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .errors import InputError
from .modules.checkpoints import read_file

_RECORDED = ("task", "backbone", "method", "schedule", "loss", "datamodule")
_WITH_MAPS = ("head",)  # of tasks that read a network's maps
_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")  # no path out of conf, no further override


def recorded_choices(path: str) -> dict[str, str]:
    """The options that the run behind a checkpoint chose; none for a file of bare weights."""
    record = _record(path)
    return {group: record["choices"][group] for group in _groups(record)} if record else {}


def with_recorded_run(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """`config` as the checkpoint's run had it, changed by the command line.

    Args:
        config: Composed for evaluation; its `ckpt_path` may also be a file of bare weights.
        overrides: The command line.
    """
    path = config.ckpt_path
    if path is None:
        return config
    record = _record(path)
    merged = config.copy()
    if record:
        recorded = OmegaConf.create(record["config"])
        for key in ("rho", "optimizer", *_groups(record)):
            OmegaConf.update(merged, key, recorded[key], merge=False, force_add=True)
        for override in overrides:
            key, _, value = override.lstrip("+").partition("=")
            if record["choices"].get(key) == value:
                continue  # the run's own choice, with the run's own settings
            # Select by parents, so that interpolations are copied and not resolved.
            parent, _, leaf = key.rpartition(".")
            node = OmegaConf.select(config, parent) if parent else config
            if node is not None and leaf in node:
                changed = node._get_node(leaf)
                OmegaConf.update(merged, key, changed, merge=False, force_add=True)
    merged.backbone.weights = path
    _check_targets(config, merged, path)
    return merged


def _check_targets(config: DictConfig, merged: DictConfig, path: str) -> None:
    """A record sets values; which classes are built of them the command line says."""
    known, wanted = (
        dict(_targets(OmegaConf.to_container(settings, resolve=True)))
        for settings in (config, merged)
    )
    for key, target in wanted.items():
        if known.get(key) != target:
            raise InputError(
                f"{path} is refused because its record wants {key}={target}, which this command "
                "line does not choose: repeat what you trained with, if the file is yours."
            )


def _record(path: str) -> dict[str, Any] | None:
    """What a checkpoint says of its run, or None of bare weights. Anybody may have written it."""
    record = read_file(path).get("run")
    if record is None:
        return None
    whole = record if isinstance(record, Mapping) else {}
    config, choices = (whole.get(key) for key in ("config", "choices"))
    if not isinstance(config, Mapping) or not isinstance(choices, Mapping):
        raise InputError(f"{path} holds a record of its run that is none: it is damaged.")
    for key in ("rho", "optimizer", *_RECORDED):
        if key not in config:
            raise InputError(f"{path} holds a record of its run without {key}: it is damaged.")
    for group in _groups(whole):
        if not _NAME.fullmatch(str(choices.get(group))):
            raise InputError(
                f"{path} is refused because its record says {group}={choices.get(group)}, which is "
                f"no name of a file in conf/{group}."
            )
    return {"config": config, "choices": choices}


def _groups(record: Mapping[str, Any]) -> list[str]:
    return [*_RECORDED, *(group for group in _WITH_MAPS if group in record["config"])]


def _targets(settings: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every `_target_` in plain settings, by its key."""
    if isinstance(settings, dict):
        for name, value in settings.items():
            inner = f"{key}.{name}".lstrip(".")
            if name == "_target_":
                yield inner, value
            yield from _targets(value, inner)
    elif isinstance(settings, list):
        for number, value in enumerate(settings):
            yield from _targets(value, f"{key}.{number}")
