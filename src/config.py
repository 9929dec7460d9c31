"""Turns configuration into objects: options of `conf/` as dictionaries, `_target_` as calls."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from .errors import InputError, one_sentence

if TYPE_CHECKING:
    from omegaconf import DictConfig

PACKAGE = __name__.split(".")[0]
_ROOT = Path(__file__).resolve().parent
# A composed configuration, an option of a group in `conf`, or a record of one: plain values.
Settings = dict[str, Any]
# The wheel carries configuration and weights inside the package, a checkout beside it.
_HOME = _ROOT if (_ROOT / "conf").is_dir() else _ROOT.parent
CONF, ASSETS = _HOME / "conf", _HOME / "assets"


def instantiate(config: Mapping[str, Any], **arguments: object) -> Any:
    """Call what `config["_target_"]` names with the other entries; `src.` leads to this package.

    Entries that have a `_target_` themselves are built first, unless `_recursive_` is false; with
    `_partial_` the call waits for further arguments.
    Hydra's own function of this name would wrap arguments in its containers and errors in its own,
    and the library works without Hydra.

    Raises:
        InputError: If there is no such target, or a library's refuses these settings.
    """
    if "_target_" not in config:
        raise InputError(f"The settings {config} lack _target_, the class to make of them.")
    options = {key: value for key, value in config.items() if not key.startswith("_")}
    if config.get("_recursive_", True):
        options = {key: _built(value) for key, value in options.items()}
    target: str = config["_target_"]
    made = locate(config)
    if config.get("_partial_"):
        return partial(made, **options | arguments)
    try:
        return made(**options | arguments)
    except InputError:
        raise
    except Exception as error:
        reason = str(error)
        strange = re.search(r"got an unexpected keyword argument '(\w+)'", reason)
        if strange and strange[1] in options:
            raise InputError(f"{target} has no setting {strange[1]}.") from error
        if target.startswith("src."):
            raise
        named = [f"{k}={v}" for k, v in options.items() if k in reason or f"{v}" in reason.split()]
        refused = ", ".join(named) or "its settings"
        raise InputError(f"{target} refuses {refused}: {one_sentence(reason)}") from error


def locate(config: Mapping[str, Any]) -> Any:
    """Return what `config["_target_"]` names, without calling it.

    Raises:
        InputError: If there is no such target.
    """
    target: str = config["_target_"]
    own = target.startswith("src.")
    try:
        return pkgutil.resolve_name(PACKAGE + target.removeprefix("src") if own else target)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"_target_={target} cannot be imported: {one_sentence(str(error))}"
        ) from error


def _built(value: object) -> object:
    if isinstance(value, dict) and "_target_" in value:
        return instantiate(value)
    if isinstance(value, list):
        return [_built(item) for item in value]
    return value


def option(group: str, name: str) -> Settings:
    """Return the settings of `conf/<group>/<name>.yaml`, without Hydra; references stay text.

    Raises:
        InputError: If there is no such file, naming those that there are.
    """
    names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    if name not in names:
        raise InputError(f"{group}={name!r} does not exist: choose one of {', '.join(names)}.")
    settings: Settings = yaml.safe_load((CONF / group / f"{name}.yaml").read_text("utf-8"))
    settings.pop("defaults", None)
    return settings


def compose_config(overrides: Sequence[str], keys: Sequence[str]) -> Settings:
    """Return the parts `keys` of `conf/train.yaml` under command-line overrides, as plain values.

    Works inside a Hydra application too, whose global state is put aside meanwhile.
    """
    config = _composed(tuple(overrides))
    return {key: plain_settings(config[key]) for key in keys}


def plain_settings(config: DictConfig, *, resolve: bool = True) -> Settings:
    """Return a configuration as plain values; with `resolve` false, references stay text."""
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(config, resolve=resolve)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


@cache
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    """Compose once; it takes a quarter of a second."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import ConfigCompositionException

    state = GlobalHydra.instance()
    running, state.hydra = state.hydra, None
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("train", overrides=list(overrides))
    except ConfigCompositionException as error:
        raise InputError(one_sentence(str(error))) from error
    finally:
        state.hydra = running
