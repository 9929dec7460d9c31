"""Exports a student as `conf/export.yaml` says, and reports how it compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from ..checkpoints.checkpoint import taken
from ..files import atomic_file
from ..reports.tables import print_table
from ..runs.record import with_recorded_run
from ..runs.settings import check_config
from .check import export_and_check
from .report import Row


def run_export(config: DictConfig) -> None:
    """Check, export, compare; print a table, write `export.json` and a report beside the file."""
    checkpoint = taken(config.ckpt_path) if config.ckpt_path else None
    config = with_recorded_run(config, HydraConfig.get().overrides.task, checkpoint)
    if checkpoint:
        checkpoint.hand_over()
    check_config(config)
    settings: Any = OmegaConf.to_container(config, resolve=True)
    rows, found = export_and_check(settings)
    columns = dict.fromkeys(name for row in rows for name in row if name != "file")
    print_table([_shown(row) for row in rows], list(columns))
    print(", ".join(f"{name} {value}" for name, value in found.items()))
    file = Path(rows[1]["file"])
    report = file.with_name(f"{file.stem}.report.json")
    text = json.dumps({"circumstances": found, "files": rows}, indent=2) + "\n"
    for path in (report, Path(HydraConfig.get().runtime.output_dir) / "export.json"):
        with atomic_file(path) as partial:
            partial.write_text(text)
    print(f"Written: {', '.join(row['file'] for row in rows if 'file' in row)}")
    print(f"Written: {report} (the numbers above)")
    beside = file.with_suffix(".json")
    if beside.is_file():
        print(f"Written: {beside} (classes, preprocessing, network, method and schedule)")


def _shown(row: Row) -> Row:
    """Return what fits into a table, such as the number of layers instead of their names."""
    shown = dict(row)
    if isinstance(overlap := row.get("kept_overlap"), list):
        shown["kept_overlap"] = " ".join(f"{share:.3f}" for share in overlap)
    if isinstance(layers := row.get("float_layers"), list):
        shown["float_layers"] = len(layers)
    return shown
