"""The page of a sweep in a browser, wide and narrow."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from src.reports.pareto import write_report
from tests.helpers import ROOT
from tests.test_reports.made_sweep import ACCURACIES, make_sweep

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for found in map(shutil.which, NAMES) if found), "")
WATCH = (ROOT / "tests" / "report_watch.js").read_text()
PROBE = (ROOT / "tests" / "test_reports" / "page_probe.js").read_text()
FRAME = """<body><iframe src="probed.html" width="{width}" height="900"></iframe>
<script>onmessage = (e) => {{ document.body.dataset.seen = e.data; }};</script></body>"""
LONG = "long_" * 60


def seen_at(width: int, page: Path) -> dict:
    text = page.read_text().replace("<style>", f"<script>{WATCH}</script><style>")
    text = text.replace("</body>", f"<script>{PROBE}</script></body>")
    page.with_name("probed.html").write_text(text)
    frame = page.with_name("frame.html")
    frame.write_text(FRAME.format(width=width))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--virtual-time-budget=20000", f"--user-data-dir={page.with_name('chromium')}"]
    ended = subprocess.run(
        [*command, "--window-size=1400,1000", frame.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'data-seen="([^"]*)"', ended.stdout)
    assert found, ended.stdout[-2000:]
    return json.loads(html.unescape(found[1]))


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")
@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page(width: int, tmp_path: Path) -> None:
    make_sweep(tmp_path)
    page = write_report(tmp_path, LONG)
    assert page
    seen = seen_at(width, page)
    assert seen["errors"] == []
    assert seen["width"] == width
    assert seen["needed"] <= width  # nothing runs off sideways
    assert seen["heading"] == LONG
    assert (seen["points"], seen["bars"], seen["rows"]) == (10, 10, 10)
    assert seen["first"][:6] == ["swin_micro", "dense", "", "", "3", "82.6 ± 0.46"]
    assert {"asymmetric, swin_micro", "linear", "Pareto front"} <= set(seen["legend"])
    assert seen["choices"] == [
        ["asymmetric, swin_micro", "dynamicvit, vit_micro"],
        ["geometric", "linear"],
    ]
    assert [picture[:3] for picture in seen["pictures"]] == [
        [
            schedule,
            str(seed),
            f"top-1 accuracy (%) {ACCURACIES['swin_micro', 0.7, schedule][seed - 1]:g}",
        ]
        for schedule in ("geometric", "linear")
        for seed in (1, 2, 3)
    ]
    assert len({picture[3] for picture in seen["pictures"][:3]}) == 3  # each seed its own
    assert seen["recolored"][:2] == ["geometric", "linear"]
