"""Checks a configuration before anything is built from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from ..config import locate
from ..errors import InputError
from ..ranges import Number

Faults = Iterator[tuple[str, str]]  # key and sentence


# Numbers that no class declares in its `ranges`: ours at the top level, and libraries'.
_NUMBERS = {
    "rho": Number(0.7, above=0, most=1),
    "seed": Number(42, least=0, most=2**32 - 1, whole=True),
    "throughput_batch": Number(32, least=1, whole=True),
    "backbone.image_size": Number(224, least=1, whole=True),
    "backbone.num_frames": Number(16, least=1, whole=True),
    "trainer.max_epochs": Number(30, least=1, whole=True),
    "trainer.accumulate_grad_batches": Number(1, least=1, whole=True),
    "callbacks.ema.decay": Number(0.9999, least=0, most=1),
}
_LISTS = {
    "schedule.locations": "[3,6,9]",
    "schedule.ratios": "[0.7,0.5,0.3]",
    "optimizer.betas": "[0.9,0.999]",
}
_OTHERS: dict[str, tuple[type, str]] = {
    "backbone.network": (str, "a name that timm knows, as deit_small_patch16_224.fb_in1k"),
    "backbone.pretrained": (bool, "true or false"),
}
_FILES = ("ckpt_path", "backbone.weights")
_PARTS = ("loss", "callbacks", "logger")  # groups of named parts
_NEEDED = ("task", "method", "schedule", "loss", "datamodule", "backbone", "optimizer", "trainer")
# Read key by key, so that others would go unnoticed.
_OF_BACKBONE = {
    *("network", "locations", "image_size", "num_frames", "pretrained", "weights", "options")
}


def check_config(config: DictConfig) -> None:
    """Check types and ranges of the settings that people change most.

    Raises:
        InputError: For each fault one sentence with the key, its value and a valid one.
    """
    if faults := config_faults(config):
        raise InputError(*faults.values())


def config_faults(config: DictConfig) -> dict[str, str]:
    """What `check_config` says, by the keys at fault."""
    faults: dict[str, str] = {}
    for checks in (
        (_empty,),  # without these the others have too little to look at
        (_missing,),
        (_unknown, _numbers, _kinds, _parts, _lists, _betas, _files, _accelerator, _precision),
    ):
        for check in checks:
            faults |= dict(check(config))
        if faults:
            break
    return faults


def _empty(config: DictConfig) -> Faults:
    for group in _NEEDED:
        if not config.get(group):
            yield group, f"{group} is empty: choose one of the files in conf/{group}."


def _missing(config: DictConfig) -> Faults:
    for key in sorted(OmegaConf.missing_keys(config)):
        yield key, f"{key} has no value: give one, as {key}=..."


def _numbers(config: DictConfig) -> Faults:
    from ..modules.optim import RANGES  # late, for the sake of `--help`

    numbers = _NUMBERS | {f"loss.{name}.weight": Number(0.5, least=0) for name in config.loss}
    numbers |= {f"optimizer.{name}": number for name, number in RANGES.items()}
    for key, number in (numbers | dict(_declared(config))).items():
        if _has(config, key):
            value = OmegaConf.select(config, key)
            if not number.accepts(value):
                yield key, f"{_shown(config, key)} must be {number}, as {number.example:g}."


def _declared(node: DictConfig, key: str = "") -> Iterator[tuple[str, Number]]:
    """Every number's range that the class behind a `_target_` declares, by the setting's key."""
    if "_target_" in node:
        for name, number in _ranges(str(node["_target_"])).items():
            yield f"{key}.{name}".lstrip("."), number
    for child in node:
        inner = node._get_node(child)
        if isinstance(inner, DictConfig) and not inner._is_none() and not inner._is_interpolation():
            yield from _declared(inner, f"{key}.{child!s}".lstrip("."))


def _ranges(target: str) -> dict[str, Number]:
    try:
        kind = locate({"_target_": target})
    except InputError:  # which building it will report
        return {}
    ranges: dict[str, Number] = {}
    for base in reversed(getattr(kind, "__mro__", ())):
        ranges |= vars(base).get("ranges", {})
    return ranges


def _kinds(config: DictConfig) -> Faults:
    for key, (kind, wanted) in _OTHERS.items():
        if not isinstance(OmegaConf.select(config, key), kind):
            yield key, f"{_shown(config, key)} must be {wanted}."


def _parts(config: DictConfig) -> Faults:
    for key in [f"{group}.{name}" for group in _PARTS for name in config.get(group) or {}]:
        if not isinstance(OmegaConf.select(config, key), (DictConfig, NoneType)):
            yield key, f"{_shown(config, key)} must be settings under that name, or null."


def _lists(config: DictConfig) -> Faults:
    for key, example in _LISTS.items():
        if _has(config, key) and not isinstance(OmegaConf.select(config, key), ListConfig):
            yield key, f"{_shown(config, key)} must be a list, as {example}."


def _betas(config: DictConfig) -> Faults:
    key, share = "optimizer.betas", Number(0.9, least=0, most=1)
    betas = OmegaConf.select(config, key)
    if not isinstance(betas, ListConfig):
        return
    if [share.accepts(beta) and beta < 1 for beta in betas] != [True, True]:
        wanted = f"two numbers from 0 and below 1, as {_LISTS[key]}"
        yield key, f"{_shown(config, key)} must be {wanted}."


def _files(config: DictConfig) -> Faults:
    for key in _FILES:
        path = OmegaConf.select(config, key)
        if path is not None and path != "last":
            path = Path(str(path)).expanduser()
        if isinstance(path, Path) and not path.is_file():
            yield key, f"{key}={path} is not a file: give the path of a checkpoint."


def check_monitor(monitor: str, logged: list[str]) -> None:
    """Check that the metric to choose checkpoints by will be there.

    Args:
        monitor: As in `conf/train.yaml`.
        logged: What validation logs with this data.

    Raises:
        InputError: If it will not.
    """
    if monitor not in logged:
        raise InputError(f"monitor={monitor} is never logged here: choose {' or '.join(logged)}.")


def check_target(module: Any, data: Any) -> None:
    """Check that a task finds in the data what it learns from.

    Args:
        module: Its `target` and `target_words` say what it needs.
        data: Its `targets` and `target_words` say what there is.

    Raises:
        InputError: If the task does not find it.
    """
    if module.target not in data.targets:
        wanted = module.target_words.get(module.target, module.target)
        given = " and ".join(data.target_words.get(name, name) for name in data.targets)
        raise InputError(
            f"This task learns from {wanted}, but the data has {given or 'nothing'}: choose "
            f"another task, or a datamodule that has {wanted}."
        )


def _unknown(config: DictConfig) -> Faults:
    from ..modules.optim import known_settings  # late, for the sake of `--help`

    optimizer: Any = OmegaConf.to_container(config.optimizer)
    for group, known in (("backbone", _OF_BACKBONE), ("optimizer", known_settings(optimizer))):
        for name in sorted(set(map(str, config[group])) - known):
            names = sorted(one for one in known if not one.startswith("_"))
            key = f"{group}.{name}"
            yield key, f"{key} is not a setting: {group} has {', '.join(names)}."


def _precision(config: DictConfig) -> Faults:
    precision = config.trainer.get("precision")
    if str(precision) in ("64", "64-true", "16-true", "bf16-true"):
        yield (
            "trainer.precision",
            f"trainer.precision={precision} is not supported, for weights stay in 32 bits: choose "
            "32-true, bf16-mixed or 16-mixed.",
        )


def _accelerator(config: DictConfig) -> Faults:
    import torch  # late, for the sake of `--help`

    wanted = config.trainer.get("accelerator")
    usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    usable["gpu"] = any(usable.values())
    if not usable.get(str(wanted), True):
        yield (
            "trainer.accelerator",
            f"trainer.accelerator={wanted}, but PyTorch sees no such device here: "
            "choose trainer=cpu, or trainer=default for whatever there is.",
        )


def _has(config: DictConfig, key: str) -> bool:
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and leaf in node


def _shown(config: DictConfig, key: str) -> str:
    value = OmegaConf.select(config, key)
    if isinstance(value, (DictConfig, ListConfig)):
        value = OmegaConf.to_container(value)
    return f"{key}={'null' if value is None else value}"
