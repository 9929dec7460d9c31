"""Where runs and sweeps live, told to Hydra by the environment. Imported before it; light."""

from __future__ import annotations

import hashlib
import os
import re
from datetime import date

# Read by conf/hydra, inherited by the launchers' processes.
VARIABLE = "TOKENTHRIFT_SWEEP"
RUN = "TOKENTHRIFT_RUN"
_LONGEST = 120


def name_run() -> None:
    """Give the processes that torchrun or srun started one folder, whichever clock each reads.

    SLURM gives a job that it starts again its old number, and so its old folder.
    """
    environment = os.environ
    if "TORCHELASTIC_RUN_ID" in environment:
        launch = environment["TORCHELASTIC_RUN_ID"]
        launch = f"{os.getppid()}" if launch == "none" else launch
        environment.setdefault(RUN, f"{date.today()}_torchrun-{_safe(launch)}")
    elif int(environment.get("SLURM_NTASKS", 1)) > 1 and "SLURM_STEP_ID" in environment:
        step = f"slurm-{environment['SLURM_JOB_ID']}.{environment['SLURM_STEP_ID']}"
        environment.setdefault(RUN, step)


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
    name = _safe(whole) or "defaults"
    if len(name) <= _LONGEST and name == whole:
        return name
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{name[:_LONGEST]}-{digest}"


def _safe(name: str) -> str:
    return re.sub(r"[^\w.,=+~\[\]-]+", "-", name)
