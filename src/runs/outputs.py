"""Checks that no two cells of a sweep write to the same file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from hydra.core.override_parser.types import Override

from ..errors import InputError
from ..shell.arguments import is_written, texts

# Interpolations that differ from cell to cell.
_OWN = re.compile(r"\$\{(paths\.run|hydra[:.](runtime\.output_dir|job\.(num|id|override_dirname)))")
_SUBDIR = "hydra.sweep.subdir"


def check_outputs(overrides: Sequence[Override], swept: set[str]) -> None:
    """Check that each path that a sweep writes to differs between its cells.

    Args:
        overrides: The command line's.
        swept: The settings that have several values.

    Raises:
        InputError: If a path is the same in several cells.
    """
    for override in overrides:
        key = override.key_or_group
        if key != _SUBDIR and (key.startswith("hydra.") or not is_written(key)):
            continue
        for path in texts(override):
            if not _differs(path, swept - {key}):
                raise InputError(
                    f"{key}={path} is one path for several cells of this sweep, which would "
                    f"overwrite each other: give each its own, as {key}='{_remedy(key, path)}'."
                )


def _differs(path: str, swept: set[str]) -> bool:
    """Return whether a path contains its cell's folder, or the value of all swept settings."""
    if _OWN.search(path):
        return True
    found = re.findall(r"\$\{(?:hydra:runtime\.choices\.)?([\w./@]+)\}", path)
    return swept <= set(found)


def _remedy(key: str, path: str) -> str:
    if key == _SUBDIR:
        return "${hydra:job.num}"
    folder = "${hydra:runtime.output_dir}" if key.startswith("paths.") else "${paths.run}"
    return f"{folder}/{PurePath(path).name}"
