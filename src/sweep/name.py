"""Where a sweep lives: the same command finds the same folder. Imported before Hydra; light."""

from __future__ import annotations

import hashlib
import os
import re

VARIABLE = "TOKENTHRIFT_SWEEP"  # read by conf/hydra, inherited by the launchers' processes
_LONGEST = 120


def name_sweep(arguments: list[str]) -> None:
    """Name the sweep that a command line asks for by its choices; no sweep, no name."""
    if {"-m", "--multirun"} & set(arguments):
        os.environ[VARIABLE] = sweep_name(arguments)


def sweep_name(arguments: list[str]) -> str:
    """The overrides as a folder's name, shortened by a digest where they are long."""
    overrides = [a for a in arguments if not a.startswith(("-", "hydra", "+hydra"))]
    whole = "_".join(overrides)
    name = re.sub(r"[^\w.,=+~\[\]-]+", "-", whole) or "defaults"
    if len(name) <= _LONGEST and name == whole:
        return name
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{name[:_LONGEST]}-{digest}"
