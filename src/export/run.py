"""Exports a student as `conf/export.yaml` asks, and reports how it compares."""

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


def run_export(config: DictConfig) -> None:
    """Check, export, compare; print a table and write `export.json`."""
    checkpoint = taken(config.ckpt_path) if config.ckpt_path else None
    config = with_recorded_run(config, HydraConfig.get().overrides.task, checkpoint)
    if checkpoint:
        checkpoint.hand_over()
    check_config(config)
    settings: Any = OmegaConf.to_container(config, resolve=True)
    rows = export_and_check(settings)
    print_table(rows, list(rows[0]))
    with atomic_file(Path(HydraConfig.get().runtime.output_dir) / "export.json") as partial:
        partial.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"Written: {', '.join(row['file'] for row in rows)}")
    beside = Path(rows[0]["file"]).with_suffix(".json")
    if beside.is_file():
        print(f"Written: {beside} (classes, preprocessing, network, method and schedule)")
