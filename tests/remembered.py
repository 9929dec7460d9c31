"""Remembers what a run of the tests would compute a thousand times: settings and GMACs."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from functools import cache
from hashlib import sha256

from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import grammar_parser
from torch import nn

from src.measure import complexity

_mode = Hydra.get_mode
_parse = grammar_parser.parse
_count = complexity.count_on_meta
_files: dict[tuple[object, ...], bytes] = {}  # pickled: loading them is the fastest copy
_gmacs: dict[tuple[bytes, str], float] = {}


def remember_settings() -> None:
    """Read a file again only when it was written, and parse an interpolation once.

    Hydra composes each command line twice, the first time to see whether a file sets `hydra.mode`:
    no file of this project does.
    """
    Plugins.instance()  # executes the modules of the sources anew
    for scheme in ("file", "pkg"):
        source = SourcesRegistry.instance().resolve(scheme)
        source.load_config = _remembering(source.load_config)  # type: ignore[method-assign]
    Hydra.get_mode = _get_mode  # type: ignore[method-assign]
    parse = cache(_parse)  # Omegaconf only walks through the tree
    for name, module in list(sys.modules.items()):
        if name.startswith("omegaconf") and getattr(module, "parse", None) is _parse:
            module.parse = parse  # type: ignore[attr-defined]


def _remembering(
    load: Callable[[ConfigSource, str], ConfigResult],
) -> Callable[[ConfigSource, str], ConfigResult]:
    def load_config(source: ConfigSource, config_path: str) -> ConfigResult:
        path = os.path.join(source.path, source._normalize_file_name(config_path))
        written = os.stat(path) if os.path.isfile(path) else None
        if source.scheme() == "file" and written is None:
            return load(source, config_path)
        key = (source.provider, path, written and (written.st_mtime_ns, written.st_size))
        if key not in _files:
            _files[key] = pickle.dumps(load(source, config_path))
        result: ConfigResult = pickle.loads(_files[key])
        return result

    return load_config


def _get_mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> object:
    if any("hydra.mode" in override for override in overrides):
        return _mode(hydra, config_name, overrides)
    return None


def remember_gmacs() -> None:
    """Count a network once, whose every attribute is as it was; the counter is slow."""
    complexity.count_on_meta = _count_on_meta


def _count_on_meta(shadow: nn.Module, image_size: int | tuple[int, ...]) -> float:
    try:
        key = sha256(pickle.dumps(shadow)).digest(), str(image_size)
    except (AttributeError, TypeError, pickle.PicklingError):
        return _count(shadow, image_size)
    if key not in _gmacs:
        _gmacs[key] = _count(shadow, image_size)
    return _gmacs[key]
