"""Runs an entry point: bad input becomes a sentence, a signal its exit code."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError, printable
from .library_errors import library_sentence
from .stopping import Stopped, ended_by_signals, stop_wins


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Turn bad input into its sentence on stderr and exit code 2, without a traceback.

    A signal that asks the process to end is said too, with the exit code of shells. Anything else
    keeps its full traceback: it is a fault of the program.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # else Hydra prints and exits by itself
    logging.raiseExceptions = False  # a log that cannot be written is no fault to trace
    try:
        with ended_by_signals(), stop_wins():
            yield
    except Stopped as stop:
        print(stop.sentence, file=sys.stderr)
        sys.exit(stop.code)
    except BrokenPipeError:  # who reads has enough, as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + 13)
    except Exception as error:
        sentences = sentences_of(error)
        if not sentences:
            raise
        for sentence in sentences:
            print(f"error: {sentence}", file=sys.stderr)
        sys.exit(2)


def command(program: str) -> str:
    """Return how this process was started, as `tokenthrift train` or `python train.py`."""
    script = Path(sys.argv[0])
    return f"python {script.name}" if script.parent.name != "programs" else f"tokenthrift {program}"


def sentences_of(error: Exception) -> list[str]:
    """Return what is wrong with the input; nothing if the program is at fault."""
    if isinstance(error, InputError):
        return error.sentences
    sentence = library_sentence(error)
    return [] if sentence is None else [printable(sentence)]


class PrintableFormatter(logging.Formatter):
    """Formats log lines so that a terminal shows control characters and does not obey them."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record, with control characters escaped."""
        return "\n".join(map(printable, super().format(record).split("\n")))
