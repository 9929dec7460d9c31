"""Checks a configuration before anything is built from it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import NoneType

from omegaconf import DictConfig, ListConfig, OmegaConf

from ..config import plain_settings
from ..datamodules.base import ImageDataModule
from ..datamodules.targets import IMAGE
from ..errors import InputError
from ..modules.base import SparseModule
from ..modules.dense import DenseModule
from ..ranges import shown
from .declared import allowed_values, known_names
from .top_level import LISTED, NEEDED

Faults = Iterator[tuple[str, str]]  # key and sentence


def check_config(config: DictConfig) -> None:
    """Check types and ranges of the settings that people change most.

    Raises:
        InputError: For each fault one sentence with the key, its value and a valid one.
    """
    if faults := config_faults(config):
        raise InputError(*faults.values())


def config_faults(config: DictConfig) -> dict[str, str]:
    """Return what `check_config` says, by the keys at fault."""
    faults: dict[str, str] = {}
    for checks in (
        (_empty,),  # without these the others have too little to look at
        (_missing,),
        (_unknown, _values, _parts),
    ):
        for check in checks:
            faults |= dict(check(config))
        if faults:
            break
    return faults


def _empty(config: DictConfig) -> Faults:
    for group in NEEDED:
        if not config.get(group):
            yield group, f"{group} is empty: choose one of the files in conf/{group}."


def _missing(config: DictConfig) -> Faults:
    for key in sorted(OmegaConf.missing_keys(config)):
        yield key, f"{key} has no value: give one, as {key}=..."


def _unknown(config: DictConfig) -> Faults:
    for group, known in known_names(config).items():
        for name in sorted(set(map(str, config[group])) - set(known)):
            names = sorted(one for one in known if not one.startswith("_"))
            key = f"{group}.{name}"
            yield key, f"{key} is not a setting: {group} has {', '.join(names)}."


def _values(config: DictConfig) -> Faults:
    refused: set[str] = set()
    for key, allowed in allowed_values(config).items():
        given = allowed.needed or _has(config, key)
        if given and (sentence := allowed.fault(key, _plain(config, key))):
            if not refused & _followed(config, key):
                yield key, sentence
            refused.add(key)


def _parts(config: DictConfig) -> Faults:
    for key in [f"{group}.{name}" for group in LISTED for name in config.get(group) or {}]:
        if not isinstance(OmegaConf.select(config, key), (DictConfig, NoneType)):
            value = shown(key, _plain(config, key))
            yield key, f"{value} must be settings under that name, or null."


def check_monitor(monitor: str, logged: list[str]) -> None:
    """Check that the metric to choose checkpoints by is logged.

    Args:
        monitor: As in `conf/train.yaml`.
        logged: What validation logs with this data.

    Raises:
        InputError: If it is not among them.
    """
    if monitor not in logged:
        raise InputError(f"monitor={monitor} is never logged here: choose {' or '.join(logged)}.")


def check_target(
    module: SparseModule | type[SparseModule], data: ImageDataModule | type[ImageDataModule]
) -> None:
    """Check that a task finds in the data what it learns from.

    Args:
        module: Its `target` and `target_words` say what it needs.
        data: Its `targets` and `target_words` say what there is.

    Raises:
        InputError: If the task does not find it.
    """
    if module.target not in (IMAGE, *data.targets):
        needed = module.target_words.get(module.target, module.target)
        given = " and ".join(data.target_words.get(name, name) for name in data.targets)
        raise InputError(
            f"This task learns from {needed}, but the data has {given or 'nothing'}: choose "
            f"another task, or a datamodule that has {needed}."
        )


def check_image_size(module: SparseModule, data: ImageDataModule) -> None:
    """Check that a network of a fixed image size gets images of it.

    Raises:
        InputError: If the data prepares them in another size.
    """
    student, side = module.student, data.image_size
    fixed = student.pretrained_cfg.get("fixed_input_size") and not isinstance(module, DenseModule)
    strict = getattr(student.patch_embed, "strict_img_size", True)
    made_for = student.image_size
    if fixed and strict and made_for != (side, side):
        raise InputError(
            f"datamodule.image_size={side} is not the size of {made_for[1]} pixels that this "
            f"network takes: leave it out and set backbone.image_size={side}, which it follows."
        )


def _has(config: DictConfig, key: str) -> bool:
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and leaf in node


def _followed(config: DictConfig, key: str) -> set[str]:
    """Return the keys whose values make up that of a setting, as `seed` in `seed: ${seed}`."""
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    if not isinstance(node, DictConfig) or not OmegaConf.is_interpolation(node, leaf):
        return set()
    return set(re.findall(r"[\w.]+", str(plain_settings(node, resolve=False)[leaf])))


def _plain(config: DictConfig, key: str) -> object:
    """Return a setting's value with plain lists and dictionaries."""
    value = OmegaConf.select(config, key)
    return OmegaConf.to_container(value) if isinstance(value, (DictConfig, ListConfig)) else value
