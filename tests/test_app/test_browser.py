"""The page in a headless browser: it opens with an answer, and follows the slider."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.helpers import ROOT

playwright = pytest.importorskip("playwright.sync_api")
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for found in map(shutil.which, NAMES) if found), "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine"),
    pytest.mark.skipif(not find_spec("gradio"), reason="the app needs gradio"),  # slow to import
]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Start `tokenthrift app` in a process of its own, as a user would."""
    port = free_port()
    command = [sys.executable, "-m", "tokenthrift", "app", "--no-browser", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        until = time.monotonic() + 120
        while not answers(port) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def gmacs(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"([\d.]+)\s*GMACs", text)]


@pytest.mark.parametrize("width", [1280, 400])
def test_it_shows_what_stays_and_follows_the_slider(
    address: str, width: int, tmp_path: Path
) -> None:
    with playwright.sync_playwright() as session:
        browser = session.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto(address)
        shown = page.locator("#shown")
        shown.locator("img").first.wait_for(timeout=60_000)
        before = shown.inner_text()
        assert "70 of 100 (70 %)" in before
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width
        number = page.locator("#rho input[type=number]")
        number.fill("0.4")
        number.press("Enter")
        page.wait_for_function(
            "document.querySelector('#shown').innerText.includes('40 of 100')",
            timeout=60_000,
        )
        after = shown.inner_text()
        assert min(gmacs(after)) < min(gmacs(before)), (before, after)
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        browser.close()
    assert (tmp_path / "page.png").stat().st_size > 10_000
