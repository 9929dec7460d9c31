"""Settings of the whole suite."""

# ruff: noqa: E402

import gc
import os
import signal
from collections.abc import Iterator

gc.disable()  # until the tests are collected: while modules are imported it finds next to nothing

# One thread a worker: pytest-xdist runs several side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")

import lightning  # noqa: F401  its log handler keeps the stderr of the first import
import pytest
import torch
from hypothesis import settings

from src.measure import throughput
from src.shell import stopping
from tests.remembered import remember_gmacs, remember_settings

torch.set_num_threads(1)
remember_settings()
remember_gmacs()

SLOW = (
    "test_bad_inputs.py",
    "test_configs.py",
    "test_parts_build.py",
    "test_sweep.py",
    "test_sweep_faults.py",
)

settings.register_profile("suite", max_examples=50, deadline=None)
settings.register_profile("stress", max_examples=2000, deadline=None)
settings.load_profile("suite")  # another by --hypothesis-profile


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name in SLOW:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what was imported by now, which stays to the end."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time networks in two turns of a call or two: tests look at what becomes of the figures."""
    take_turns = throughput.take_turns
    monkeypatch.setattr(take_turns, "__defaults__", (2, 0.01))  # who imported it by name
    monkeypatch.setattr(
        throughput, "take_turns", lambda calls, *_, **__: take_turns(calls, 2, 0.01)
    )


@pytest.fixture(autouse=True)
def _interrupt(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let Ctrl-C end the tests, after a script was run in this process, too; forget its signals."""
    monkeypatch.setattr(stopping, "_request", stopping._Request())
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)
