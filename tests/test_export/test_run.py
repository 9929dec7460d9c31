"""`export.py` writes files that score as the student does, and says how large they are."""

from __future__ import annotations

import json
import runpy
import sys

import pytest
from hydra.core.global_hydra import GlobalHydra

from tests.helpers import ROOT

pytestmark = pytest.mark.slow


@pytest.mark.filterwarnings("ignore")
def test_command_line_with_eight_bits(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    GlobalHydra.instance().clear()
    words = ["method=evit", "int8=true", "datamodule.val_images=40", "throughput_batch=1"]
    argv = ["export.py", *words, f"file={tmp_path}/small.onnx", f"hydra.run.dir={tmp_path}"]
    monkeypatch.setattr(sys, "argv", argv)
    runpy.run_path("export.py", run_name="__main__")
    report = json.loads((tmp_path / "small.report.json").read_text())
    assert report == json.loads((tmp_path / "export.json").read_text())
    assert report["circumstances"]["images"] == 40
    dense, sparse, _, small = report["files"]
    assert (small["network"], small["bits"]) == ("sparse", "int8 dynamic")
    assert sparse["difference_batch_5"] < 1e-4
    assert small["megabytes"] < 0.5 * sparse["megabytes"]
    assert sparse["acc1"] > 80
    assert abs(sparse["acc1"] - small["acc1"]) <= 5
    assert "file" not in dense
    assert small["file"] == str(tmp_path / "small_int8.onnx")
    assert (tmp_path / "small_int8.onnx").is_file()
