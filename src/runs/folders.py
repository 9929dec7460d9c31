"""Names the folders of runs, sweeps and their cells, with few imports, before Hydra starts."""

from __future__ import annotations

import os
import re
from datetime import date
from pathlib import PurePath

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from ..files import beginning, digest, shortened
from ..shell.arguments import for_hydra, is_path, is_sweep, is_sweep_flag, parsed, texts
from .outputs import check_outputs

# Read by conf/hydra, inherited by the launchers' processes.
VARIABLE = "TOKENTHRIFT_SWEEP"
RUN = "TOKENTHRIFT_RUN"
SWEPT = "TOKENTHRIFT_SWEPT"
_LONGEST = 120
_GROUP = 128  # characters that W&B takes
_CELL = 200  # bytes; file systems take 255


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
    """Name the sweep that a command line asks for by its choices; do nothing for one job.

    Returns:
        The command line with the flag in front: Hydra refuses it between overrides.

    Raises:
        InputError: If cells of the sweep would write to one file.
    """
    os.environ.pop(SWEPT, None)
    if not is_sweep(arguments):
        return arguments
    overrides = [override for override in map(parsed, for_hydra(arguments)) if override]
    swept = {override.key_or_group for override in overrides if override.is_sweep_override()}
    swept = {key.removeprefix("hydra.sweeper.params.") for key in swept}
    check_outputs(overrides, swept)
    os.environ[VARIABLE] = sweep_name(arguments)
    os.environ[SWEPT] = ",".join(sorted(swept))
    flags = [argument for argument in arguments if is_sweep_flag(argument)]
    return flags[:1] + [argument for argument in arguments if argument not in flags]


def sweep_name(arguments: list[str]) -> str:
    """Make a folder's name of the overrides, shortened by a digest where they are long."""
    how = ("-", "hydra", "+hydra", "logger", "callbacks.progress", "title=")  # changes no results
    overrides = [argument for argument in arguments if not argument.startswith(how)]
    joined = "_".join(overrides)
    name = _safe(joined) or "defaults"
    if len(name.encode()) <= _LONGEST and name == joined:
        return name
    return f"{beginning(name, _GROUP - 9)}-{digest(joined)}"


def cell_name() -> str:
    """Name the job that Hydra runs in this process: by every setting that its sweep varies.

    Of the others those are left out that `conf/hydra` excludes. As `${tokenthrift.cell:}` this is
    a cell's folder and a W&B run's name; Hydra hands its resolvers to its launchers' processes.
    """
    hydra = HydraConfig.get()
    swept = set(os.environ.get(SWEPT, "").split(",")) | set(hydra.sweeper.get("params") or {})
    left_out = set(hydra.job.config.override_dirname.exclude_keys) - swept
    overrides = sorted(hydra.overrides.task)
    keys = [override.lstrip("+~").partition("=")[0] for override in overrides]
    named = [(key in swept, o) for key, o in zip(keys, overrides, strict=True)]
    named = [pair for pair, key in zip(named, keys, strict=True) if key not in left_out]
    name = ",".join(_label(override) for _, override in named) or "defaults"
    if len(name.encode()) <= _CELL:
        return name
    first = sorted(named, key=lambda pair: not pair[0])  # what tells the cells apart
    return shortened(",".join(_label(override) for _, override in first), _CELL)


def _label(override: str) -> str:
    """Return an override as part of a folder's name; a path by its last parts."""
    key, equals, value = override.partition("=")
    read = parsed(override)
    text = value
    if equals and read is not None and is_path(read.key_or_group):
        (text,) = texts(read) or [value]
        value = "-".join(PurePath(text).parts[-3:]).lstrip("/-")
    label = _safe(f"{key}{equals}{value}", "@:{}")
    return label if label == override else f"{label}-{digest(f'{key}={text}')}"


def _safe(name: str, also: str = "") -> str:
    return re.sub(rf"[^\w.,=+~\[\]{also}-]+", "-", name)


OmegaConf.register_new_resolver("tokenthrift.cell", cell_name, replace=True)
