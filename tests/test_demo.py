"""`make demo` starts: its settings resolve without what train.py does for its own."""

import pytest

from tests.helpers import ROOT, one_process, run


@pytest.mark.slow
def test_its_settings_resolve(tmp_path, capfd, monkeypatch):
    for name in ("RUN", "SWEEP", "SWEPT", "PACKAGE", "ASSETS"):
        monkeypatch.delenv(f"TOKENTHRIFT_{name}", raising=False)
    with one_process(tmp_path):
        assert run([ROOT / "demo.py", "rho=0.5", "--cfg", "job", "--resolve"]) == 0
    shown = capfd.readouterr().out
    assert "rho: 0.5" in shown
    assert "tokenthrift.cell" not in shown
