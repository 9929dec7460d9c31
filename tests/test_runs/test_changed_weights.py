"""A sweep's cell is done again when the file of weights that it names has another content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from src.reports.rows import SETTINGS
from src.runs import cell
from tests.test_sweep_faults import ROW


class Hydra:
    """A cell of a sweep, as Hydra would say it."""

    mode = cell.RunMode.MULTIRUN


@pytest.mark.parametrize("key", ["ckpt_path", "backbone.weights"])
def test_new_weights_are_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setattr(cell.HydraConfig, "get", lambda: Hydra)
    weights, folder = tmp_path / "best.ckpt", tmp_path / "cell"
    folder.mkdir()
    weights.write_bytes(b"first")
    config = OmegaConf.create({"rho": 0.5, "ckpt_path": None, "monitor": "val/acc1"})
    config.backbone = {"weights": None}
    OmegaConf.update(config, key, str(weights))
    done: list[bytes] = []

    def work(config: DictConfig) -> dict[str, Any]:
        done.append(weights.read_bytes())
        return dict(ROW)

    cell._run_once(folder, config, work)
    cell._run_once(folder, config, work)
    assert done == [b"first"]
    weights.write_bytes(b"secon")  # as long
    cell._run_once(folder, config, work)
    assert done == [b"first", b"secon"]
    settings = json.loads((folder / SETTINGS).read_text())
    del settings["digests"]  # as of older sweeps
    (folder / SETTINGS).write_text(json.dumps(settings))
    cell._run_once(folder, config, work)
    assert len(done) == 2


def test_a_dense_network_of_other_weights_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell.HydraConfig, "get", lambda: Hydra)
    weights = tmp_path / "dense.pth"
    method = {"_target_": "src.modules.methods.dense.Dense"}
    done: list[float] = []

    def run(rho: float) -> None:
        config = {"rho": rho, "ckpt_path": str(weights), "monitor": "val/acc1", "method": method}
        folder = tmp_path / f"sweep/{rho}"
        folder.mkdir(parents=True)
        row = {**ROW, "rho": rho}
        cell._run_once(folder, OmegaConf.create(config), lambda _: done.append(rho) or row, True)

    weights.write_bytes(b"first")
    run(0.5)
    run(0.6)
    weights.write_bytes(b"second")
    run(0.7)
    assert done == [0.5, 0.7]
