"""Runs one job of a sweep once, and keeps its failure from stopping the other jobs."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ..checkpoints.checkpoint import RUN, newest_checkpoint
from ..config import Settings, locate
from ..files import digest_of
from ..reports.rows import FAILURE, MAPS, RESULT, SETTINGS, Row, metric_of, read_json, read_row
from ..shell.program import sentences_of
from ..shell.stopping import Stopped, stop_wins
from .lock import only_cell_in

log = logging.getLogger(__name__)

# Settings that say where, or a report's heading, and not what.
_PLACES = ("paths", "hydra", "logger", "title")
_WEIGHTS = ("ckpt_path", "backbone.weights")
_DIGESTS = "digests"  # in `settings.json`: of the files that these settings name


def run_cell(config: DictConfig, work: Callable[[DictConfig], Row], only_row: bool = False) -> Row:
    """Do the job that `config` describes and write its row, `result.json`.

    In a sweep a job that has finished under the same settings, with weights from files that are
    still the same, is not done again; a training that was stopped goes on from its newest
    checkpoint, and a job that fails leaves `failure.txt` and an empty row instead of an exception.
    A job that would leave a row alone takes that of a finished one which differs in rho, where the
    method ignores rho: a dense network is measured once.

    Args:
        config: The job's configuration.
        work: Does it; returns a row of the report, with `maps` if there are any.
        only_row: Whether that row is all that the job leaves.

    Raises:
        InputError: If another sweep is at work on this cell.
    """
    from lightning.pytorch.utilities import rank_zero_only  # late, for the sake of `--help`

    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    if hydra.mode is not RunMode.MULTIRUN:
        return _finish(folder, work(config), _settings(config), config.monitor)
    first = getattr(rank_zero_only, "rank", 0) == 0
    with only_cell_in(folder) if first else nullcontext():
        return _run_once(folder, config, work, only_row)


def _run_once(
    folder: Path,
    config: DictConfig,
    work: Callable[[DictConfig], Row],
    only_row: bool = False,
) -> Row:
    settings = _settings(config)
    recorded = settings | {_DIGESTS: _digests(config)}
    finished = read_row(folder)
    if finished and _same(read_json(folder / SETTINGS), recorded):
        log.info(f"Finished already: {folder.name}")
        return finished
    for name in (RESULT, MAPS, FAILURE):
        (folder / name).unlink(missing_ok=True)
    try:
        if only_row and (row := _row_at_any_rho(folder, recorded)):
            return _finish(folder, row, recorded, config.monitor)
        if config.ckpt_path is None and _stopped_under(settings, folder / "checkpoints"):
            config.ckpt_path = "last"
        with stop_wins():
            return _finish(folder, work(config), recorded, config.monitor)
    except Stopped as stop:
        print(f"{stop.sentence} Go on: the same command again", file=sys.stderr)
        sys.exit(stop.code)
    except Exception as error:
        sentence = " ".join(sentences_of(error)) or f"{type(error).__name__}: {error}"
        (folder / FAILURE).write_text(f"{sentence}\n\n{traceback.format_exc()}")
        print(f"error: {sentence} ({folder / FAILURE})", file=sys.stderr)
        return {}


def _row_at_any_rho(folder: Path, settings: Settings) -> Row | None:
    """Return the row of a finished cell that differs in rho alone, if the method ignores rho."""
    reason = getattr(locate(settings["method"]), "ignores_rho", "")
    if not (isinstance(reason, str) and reason):
        return None
    for other in sorted(folder.parent.iterdir()):
        row = read_row(other) if other != folder and other.is_dir() else None
        known = read_json(other / SETTINGS) if row else None
        if row and isinstance(known, dict) and _same(known | {"rho": settings["rho"]}, settings):
            log.info(f"{reason}, whatever rho is: takes the row of {other.name}")
            return row | {"rho": settings["rho"], "maps": read_json(other / MAPS)}
    return None


def _stopped_under(settings: Settings, checkpoints: Path) -> bool:
    """Return whether the newest checkpoint is of a training with exactly these settings."""
    if not checkpoints.is_dir():
        return False
    newest = newest_checkpoint(checkpoints)
    record = newest.content.get(RUN) if newest else None
    if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
        return False
    of_run = {key: value for key, value in record["config"].items() if key not in _PLACES}
    if of_run.get("ckpt_path") == "last":  # it had gone on before
        of_run["ckpt_path"] = None
    same = bool(json.loads(json.dumps(of_run, default=str)) == settings)
    if newest and same:
        newest.hand_over()
    return same


def _finish(folder: Path, row: Row, settings: Settings, monitor: str) -> Row:
    from lightning.pytorch.utilities import rank_zero_only  # late, for the sake of `--help`

    monitored = monitor.rpartition("/")[2]
    if metric_of(row) is None and monitored in row:
        row = {**row, "monitor": monitored}
    if HydraConfig.get().mode is RunMode.MULTIRUN and metric_of(row) is None:
        rank_zero_only(log.warning)(
            f"{folder.name} leaves no metric to report and counts as unfinished: "
            f"monitor={monitor} should name one that its task logs."
        )
    rank_zero_only(_save)(folder, row, settings)
    return {name: value for name, value in row.items() if name != "maps"}


def _save(folder: Path, row: Row, settings: Settings) -> None:
    rest = {name: value for name, value in row.items() if name != "maps"}
    contents = {SETTINGS: settings, MAPS: row.get("maps"), RESULT: rest}  # the row comes last
    for name, content in contents.items():
        partial = folder / f"{name}.{os.getpid()}-{threading.get_ident()}.partial"
        partial.write_text(json.dumps(content, indent=None if name == MAPS else 2) + "\n")
        partial.replace(folder / name)


def _same(known: object, recorded: Settings) -> bool:
    """Return whether a finished job had these settings, and these weights if it says which."""
    return isinstance(known, dict) and {_DIGESTS: recorded[_DIGESTS]} | known == recorded


def _digests(config: DictConfig) -> dict[str, str]:
    """Return the digest of each file of weights that is there, by the setting that names it."""
    named = {key: OmegaConf.select(config, key) for key in _WEIGHTS}
    files = {key: Path(str(path)).expanduser() for key, path in named.items() if path}
    return {key: digest_of(file) for key, file in files.items() if file.is_file()}


def _settings(config: DictConfig) -> Settings:
    """Return the settings that decide the results, without places, as json holds them."""
    kept = {key: config._get_node(key) for key in config if key not in _PLACES}
    container = OmegaConf.to_container(OmegaConf.create(kept), resolve=False)
    settings: Settings = json.loads(json.dumps(container))
    return settings
