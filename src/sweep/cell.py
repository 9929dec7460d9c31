"""One job of a sweep: run once, remembered, and kept from stopping the others."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ..errors import sentences_of
from ..stopping import Stopped, stop_wins

log = logging.getLogger(__name__)

RESULT, MAPS, SETTINGS, FAILURE = "result.json", "maps.json", "settings.json", "failure.txt"
# What a row's task is judged by, in percent, and how it is called.
METRICS = {"acc1": "top-1 (%)", "miou": "mIoU (%)", "box_ap": "box AP (%)"}
# Settings that say where and not what.
_PLACES = ("paths", "hydra", "logger")


def run_cell(config: DictConfig, work: Callable[[DictConfig], dict[str, Any]]) -> dict[str, Any]:
    """Do the job that `config` describes and write its row, `result.json`.

    In a sweep a job that has finished under the same settings is not done again, and one that
    fails leaves `failure.txt` and an empty row instead of an exception.

    Args:
        config: The job's configuration.
        work: Does it; returns a row of the report, with `maps` if there are any.
    """
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    settings = _settings(config)
    if hydra.mode is not RunMode.MULTIRUN:
        return _finish(folder, work(config), settings)
    finished = read_row(folder)
    if finished and _read(folder / SETTINGS) == settings:
        log.info(f"Finished already: {folder.name}")
        return finished
    for name in (RESULT, MAPS, FAILURE):
        (folder / name).unlink(missing_ok=True)
    try:
        with stop_wins():
            return _finish(folder, work(config), settings)
    except Stopped as stop:
        print(f"{stop.sentence} Go on: the same command again", file=sys.stderr)
        sys.exit(stop.code)
    except Exception as error:
        sentence = " ".join(sentences_of(error)) or f"{type(error).__name__}: {error}"
        (folder / FAILURE).write_text(f"{sentence}\n\n{traceback.format_exc()}")
        print(f"error: {sentence} ({folder / FAILURE})", file=sys.stderr)
        return {}


def read_row(folder: Path) -> dict[str, Any] | None:
    """The row of a finished job, or None."""
    row = _read(folder / RESULT)
    return row if isinstance(row, dict) and metric_of(row) else None


def metric_of(row: dict[str, Any]) -> str | None:
    """Which of `METRICS` a row has."""
    return next((name for name in METRICS if name in row), None)


def read_maps(folder: Path) -> dict[str, Any] | None:
    """What the job left of a few images, or None."""
    maps: dict[str, Any] | None = _read(folder / MAPS)
    return maps


def _finish(folder: Path, row: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    from lightning.pytorch.utilities import rank_zero_only  # late, for the sake of `--help`

    rank_zero_only(_save)(folder, row, settings)
    return {name: value for name, value in row.items() if name != "maps"}


def _save(folder: Path, row: dict[str, Any], settings: dict[str, Any]) -> None:
    rest = {name: value for name, value in row.items() if name != "maps"}
    contents = {SETTINGS: settings, MAPS: row.get("maps"), RESULT: rest}  # the row comes last
    for name, content in contents.items():
        partial = folder / f"{name}.partial"
        partial.write_text(json.dumps(content, indent=None if name == MAPS else 2) + "\n")
        partial.replace(folder / name)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # none, or half of one
        return None


def _settings(config: DictConfig) -> dict[str, Any]:
    """What the job does, without where it does it, as json holds it."""
    kept = {key: config._get_node(key) for key in config if key not in _PLACES}
    container = OmegaConf.to_container(OmegaConf.create(kept), resolve=False)
    settings: dict[str, Any] = json.loads(json.dumps(container))
    return settings
