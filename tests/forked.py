"""A process that runs an entry point without importing PyTorch and the rest once more."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra

from tests.helpers import ROOT, run


class Forked:
    """Behave as `subprocess.Popen` of `python COMMAND`, but fork from this process.

    It is as separate as any other process: it has its own signals, folder, output and end.
    """

    def __init__(self, command: Sequence[object], cwd: Path = ROOT) -> None:
        self._told = tempfile.mkdtemp()
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=_work, args=(command, cwd, self._told))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        atexit.register(self.kill)  # of a test that failed

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end and return what was printed, and what to stderr."""
        self._process.join(timeout)
        if self.poll() is None:
            self.kill()
            raise subprocess.TimeoutExpired("the process", timeout or 0)
        out, err = ((Path(self._told) / name).read_text() for name in ("out", "err"))
        return out, err


def _work(command: Sequence[object], cwd: Path, told: str) -> None:
    os.setsid()
    for descriptor, name in ((1, "out"), (2, "err")):
        file = os.open(Path(told) / name, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, descriptor)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    GlobalHydra.instance().clear()
    os.chdir(cwd)
    sys.exit(run(command))
