"""Handles the signals that ask a process to end: Ctrl-C, SIGTERM, a closed terminal."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

_NAMES = {"SIGINT": "Ctrl-C", "SIGTERM": "SIGTERM", "SIGHUP": "SIGHUP"}
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_ECHO = 1.0  # seconds; shells and `timeout` send one request as two signals


class Stopped(SystemExit):
    """Ends this process because of a signal, with the exit code that shells give it."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number

    @property
    def sentence(self) -> str:
        """Return a sentence that names the signal."""
        return f"Stopped by {name_of(self.number)}."


@dataclass
class _Request:
    number: int = 0  # of the first signal; 0 for none
    time: float = 0.0  # of the last one
    raised: bool = False


_request = _Request()


def name_of(number: int) -> str:
    """Return what a user calls a signal."""
    return _NAMES[signal.Signals(number).name]


def end(number: int, _: FrameType | None = None) -> None:
    """Raise `Stopped` where the process stands.

    A signal that follows another within a second raises nothing, so that it does not cut the
    cleaning up short.
    """
    if _record(number):
        _raise(number)


def note(number: int, _: FrameType | None = None) -> bool:
    """Remember a signal for `raise_if_asked`, and return whether it is the first.

    Raises:
        Stopped: At a second Ctrl-C.
    """
    first = not _request.number
    if _record(number) and not first and number == signal.SIGINT:
        _raise(number)
    return first


def remember(number: int) -> None:
    """Store the signal that another process of this run has received."""
    _request.number = _request.number or number


def asked() -> Stopped | None:
    """Return what the first signal asks for; None if none has come."""
    return Stopped(_request.number) if _request.number else None


def raise_if_asked() -> None:
    """Raise `Stopped` if a signal has come, even where a library has swallowed it."""
    if _request.number:
        _raise(_request.number)


@contextmanager
def stop_wins() -> Iterator[None]:
    """Raise `Stopped` around the block if a signal has come, instead of errors that it caused."""
    raise_if_asked()
    try:
        yield
    except Exception:
        if _request.raised:
            raise_if_asked()
        raise
    raise_if_asked()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let a signal end the block by `Stopped`, for code that has nothing to save."""
    global _request
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _request = _Request()
    take_over(end)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def take_over(handler: Callable[[int, FrameType | None], object]) -> None:
    """Let `handler` have the signals, but for those that the process ignores, as under nohup.

    Only a main thread may; in another one nothing changes.
    """
    terminals = [fd for fd in (1, 2) if os.isatty(fd)]

    def heed(number: int, frame: FrameType | None) -> None:
        if _NAMES[signal.Signals(number).name] == "SIGHUP":
            _leave(terminals)
        handler(number, frame)

    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, heed)


def end_silently_while_importing() -> None:
    """Let Ctrl-C end the process with one sentence before there is anything to clean up."""

    def leave(number: int, _: FrameType | None) -> None:
        say(Stopped(number).sentence)
        os._exit(128 + number)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)


def follow_parent_alone(_: int) -> None:
    """Ignore the signals of a terminal or a scheduler, which the parent process handles.

    They reach all processes of a group at once, and a loader process that ended by one would end
    the training before it has saved.
    """
    for number in {*SIGNALS} - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_await_parent, args=(os.getppid(),), daemon=True).start()


def say(sentence: str) -> None:
    """Write a line to stderr from within a signal handler, where `print` may not be entered."""
    with contextlib.suppress(OSError):
        os.write(2, f"{sentence}\n".encode())


def how_to_resume(folder: str | Path) -> str:
    """Return the words that let the same command go on in `folder`, as a shell takes them."""
    path = str(folder)
    if not re.fullmatch(r"[\w/.:+@%-]+", path):  # what Hydra takes without quotes
        path = '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"ckpt_path=last {shlex.quote(f'hydra.run.dir={path}')}"


def _record(number: int) -> bool:
    """Record a signal; return whether it is a new request and not the echo of another."""
    now = time.monotonic()
    new = not _request.number or now - _request.time > _ECHO
    _request.number, _request.time = _request.number or int(number), now
    return new


def _raise(number: int) -> None:
    _request.raised = True
    raise Stopped(number)


def _leave(terminals: list[int]) -> None:
    """Redirect output from a closed terminal, to which writing would fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in terminals:
        os.dup2(nowhere, descriptor)


def _await_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
