"""Takes the run behind a checkpoint as the defaults of its evaluation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import torch
from omegaconf import DictConfig, OmegaConf

from ..checkpoints.checkpoint import RUN, Checkpoint
from ..config import Settings, plain_settings
from ..errors import InputError
from ..modules.networks.create import BOUNDED_BY_WEIGHTS, build_network
from ..shell.arguments import for_hydra, parsed, texts
from .declared import targets
from .record_checks import check_local, check_sizes, check_values
from .self_described import check_described, describes_itself

# No loss: an evaluation takes none, so that one with a loss of your own asks for nothing more.
_RECORDED = ("task", "backbone", "method", "schedule", "datamodule")
_WITH_MAPS = ("head",)  # of tasks that read a network's maps
_NOT_TAKEN = ("seed", "loss", "optimizer")  # the command line's own, which a record refers to
# Parts whose numbers the weights must be able to have.
_BOUNDED = (*(f"backbone.{name}" for name in BOUNDED_BY_WEIGHTS), *_WITH_MAPS)
# What suits a machine, and not a network.
_OF_MACHINES = (
    "datamodule.num_workers",
    "datamodule.pin_memory",
    "datamodule.persistent_workers",
    "datamodule.prefetch_factor",
)
_ROOM = 2  # a network may be larger than its weights by so much, as for larger images
_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)  # no path out of conf, no override


def recorded_choices(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the options that its run chose; none for a file of bare weights."""
    record = _record(checkpoint)
    return {group: record["choices"][group] for group in _groups(record)} if record else {}


def add_recorded_choices(arguments: list[str]) -> list[str]:
    """Let the checkpoint's own backbone and data be the defaults of the command line.

    Raises:
        InputError: If a sweep's checkpoints come from runs that chose differently.
    """
    given = {
        override.key_or_group: override
        for override in map(parsed, for_hydra(arguments))
        if override
    }
    paths = texts(given["ckpt_path"]) if "ckpt_path" in given else []
    if not paths or any(map(describes_itself, paths)):
        return arguments
    all_choices = []
    for path in paths:  # one at a time: a sweep may name many
        checkpoint = Checkpoint.read(path)
        all_choices.append(recorded_choices(checkpoint))
    if len(paths) == 1:
        checkpoint.hand_over()
    for path, choices in zip(paths, all_choices, strict=True):
        for group in sorted((choices | all_choices[0]).keys() - given.keys()):
            if choices.get(group) != all_choices[0].get(group):
                raise InputError(
                    f"ckpt_path={paths[0]} has {group}={all_choices[0].get(group)} and {path} "
                    f"{group}={choices.get(group)}: evaluate them one by one, or add {group}=NAME "
                    "for both."
                )
    added = [f"{group}={name}" for group, name in all_choices[0].items() if group not in given]
    return added + arguments


def with_recorded_run(
    config: DictConfig, overrides: Sequence[str], checkpoint: Checkpoint | None
) -> DictConfig:
    """Return `config` as the checkpoint's run had it, changed by the command line.

    Anybody may have written the record: it sets plain values, names nothing that is not on this
    machine, and cannot choose which classes are built.

    Args:
        config: Composed for evaluation.
        overrides: The command line.
        checkpoint: The file at `ckpt_path`, which may hold bare weights; None without one.

    Raises:
        InputError: If the record asks for more than that, naming key and value.
    """
    if checkpoint is None:
        return config
    path = config.ckpt_path
    record = _record(checkpoint)
    merged = config.copy()
    if record:
        typed = list(_typed(overrides, record["choices"]))
        taken = {
            key: _without(record["config"][key], key, {*typed, *_OF_MACHINES, "backbone.weights"})
            for key in ("rho", *_groups(record))
        }
        check_values(taken, _NOT_TAKEN, path)
        check_local(taken, _fetched(config), path)
        check_sizes(taken, list(checkpoint.tensors.values()), _BOUNDED, path)
        recorded = OmegaConf.create(taken)
        for key in taken:
            OmegaConf.update(merged, key, recorded[key], merge=False, force_add=True)
        for key in (*typed, *_OF_MACHINES):
            # Select by parents, so that interpolations are copied and not resolved.
            parent, _, leaf = key.rpartition(".")
            node = OmegaConf.select(config, parent) if parent else config
            if isinstance(node, DictConfig) and leaf in node:
                changed = node._get_node(leaf)
                OmegaConf.update(merged, key, changed, merge=False, force_add=True)
    OmegaConf.update(merged, "backbone.weights", path, force_add=True)
    _check_choices(config, merged, path)
    if record:
        _check_network(merged, checkpoint)
    else:
        check_described(path, plain_settings(merged), overrides)
    return merged


def _check_network(config: DictConfig, checkpoint: Checkpoint) -> None:
    """Refuse a network that has many more parameters than the file has weights."""
    backbone = plain_settings(config.backbone)
    with torch.device("meta"):
        network = build_network(backbone, 0, pretrained=False)
    needed = sum(parameter.numel() for parameter in network.parameters())
    held = sum(tensor.numel() for tensor in checkpoint.tensors.values())
    if needed > _ROOM * held:
        raise InputError(
            f"{checkpoint.path} is refused because its record describes a network of "
            f"{needed:,} parameters, and the file holds {held:,} numbers: correct "
            "backbone.options on the command line, if the file is yours."
        )


def _fetched(config: DictConfig) -> set[str]:
    """Return the keys of settings that data modules declare as downloaded."""
    return {
        f"{key}.{name}"
        for key, target in targets(config)
        for name in getattr(target, "fetched", ())
    }


def _typed(overrides: Sequence[str], choices: Mapping[str, object]) -> Iterator[str]:
    """Find the keys on the command line, without repetitions of the run's own choices."""
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if choices.get(key) != value:
            yield key


def _without(value: object, key: str, left_out: set[str]) -> object:
    """Return a record's value without the settings that come from elsewhere."""
    if key in left_out:
        return None
    if not isinstance(value, dict) or not any(name.startswith(f"{key}.") for name in left_out):
        return value
    return {
        name: _without(inner, f"{key}.{name}", left_out)
        for name, inner in value.items()
        if f"{key}.{name}" not in left_out
    }


def _check_choices(config: DictConfig, merged: DictConfig, path: str) -> None:
    """Refuse a record with another network or `_target_` than the command line selects."""
    known, recorded = (dict(_chosen(plain_settings(settings))) for settings in (config, merged))
    for key, target in recorded.items():
        if known.get(key) != target:
            raise InputError(
                f"{path} is refused because its record sets {key}={target}, which this command "
                "line does not choose: repeat what you trained with, if the file is yours."
            )


def _record(checkpoint: Checkpoint) -> Settings | None:
    """Return a checkpoint's record of its run, which may be forged; None for bare weights."""
    path, record = checkpoint.path, checkpoint.content.get(RUN)
    if record is None:
        return None
    entries = record if isinstance(record, Mapping) else {}
    config, choices = (entries.get(key) for key in ("config", "choices"))
    if not isinstance(config, Mapping) or not isinstance(choices, Mapping):
        raise InputError(f"{path} holds a damaged record of its run.")
    for key in ("rho", "optimizer", *_RECORDED):
        if key not in config:
            raise InputError(f"{path} holds a record of its run without {key}: it is damaged.")
    for group in _groups(entries):
        name = choices.get(group)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            shown = name if isinstance(name, str) else f"a {type(name).__name__}"
            raise InputError(
                f"{path} is refused because its record says {group}={shown[:200]}, which is no "
                f"name of a file in conf/{group}."
            )
    return {"config": config, "choices": choices}


def _groups(record: Mapping[str, Settings]) -> list[str]:
    return [*_RECORDED, *(group for group in _WITH_MAPS if group in record["config"])]


def _chosen(settings: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Find the network and every `_target_` in plain settings, by their keys."""
    if isinstance(settings, dict):
        for name, value in settings.items():
            inner = f"{key}.{name}".lstrip(".")
            if name == "_target_" or inner == "backbone.network":
                yield inner, value
            yield from _chosen(value, inner)
    elif isinstance(settings, list):
        for number, value in enumerate(settings):
            yield from _chosen(value, f"{key}.{number}")
