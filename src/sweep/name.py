"""Where a sweep lives: the same command finds the same folder. Imported before Hydra; light."""

from __future__ import annotations

import hashlib
import os
import re

VARIABLE = "TOKENTHRIFT_SWEEP"  # read by conf/hydra, inherited by the launchers' processes
_LONGEST = 120


def name_sweep(arguments: list[str]) -> list[str]:
    """Name the sweep that a command line asks for by its choices; no sweep, no name.

    Returns:
        The command line with the flag in front: Hydra refuses it between overrides.
    """
    flags = [argument for argument in arguments if argument in ("-m", "--multirun")]
    if not flags:
        return arguments
    os.environ[VARIABLE] = sweep_name(arguments)
    return flags[:1] + [argument for argument in arguments if argument not in flags]


def sweep_name(arguments: list[str]) -> str:
    """The overrides as a folder's name, shortened by a digest where they are long."""
    how = ("-", "hydra", "+hydra", "logger", "callbacks.progress")  # does not change results
    overrides = [argument for argument in arguments if not argument.startswith(how)]
    whole = "_".join(overrides)
    name = re.sub(r"[^\w.,=+~\[\]-]+", "-", whole) or "defaults"
    if len(name) <= _LONGEST and name == whole:
        return name
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{name[:_LONGEST]}-{digest}"
