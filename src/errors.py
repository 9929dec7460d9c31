"""The one exception that means "your input is wrong", and how an entry point reports it."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from .stopping import Stopped, ended_by_signals, stop_wins


class InputError(ValueError):
    """A setting, file or image that cannot be used.

    Its message is one sentence that names the thing, the value and what would be valid; several
    faults that were found together have one each.
    """

    @property
    def sentences(self) -> list[str]:
        """One for each fault."""
        # A DataLoader worker prefixes the message with its own traceback.
        parts = (str(part).rsplit("InputError: ", 1)[-1] for part in self.args)
        return [printable(" ".join(part.split())) for part in parts]

    def __str__(self) -> str:
        return " ".join(map(str, self.args))


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
    except Exception as error:
        sentences = sentences_of(error)
        if not sentences:
            raise
        for sentence in sentences:
            print(f"error: {sentence}", file=sys.stderr)
        sys.exit(2)


def one_sentence(text: str) -> str:
    """A library's message as one line and one sentence, without its web addresses."""
    text = re.sub(r"\s*See https?://\S+.*", "", text, flags=re.DOTALL)
    lines = [line.strip().rstrip(".!") for line in text.strip().splitlines() if line.strip()]
    line = re.sub(r"[.!?]\s+(?=[A-Z`'])", "; ", "; ".join(lines))
    return re.sub(r"([:,;]); ", r"\1 ", line) + "."


def printable(text: str) -> str:
    """Return `text` with what a terminal would obey, or could not show, as its escape."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


class PrintableFormatter(logging.Formatter):
    """Formats log lines that a terminal shows and does not obey."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record."""
        return "\n".join(map(printable, super().format(record).split("\n")))


def some(names: Sequence[str], most: int = 4) -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def sentences_of(error: Exception) -> list[str]:
    """What is wrong with the input, or nothing if the program is at fault."""
    if isinstance(error, InputError):
        return error.sentences
    from .library_errors import library_sentence  # which says it in the words of this file

    sentence = library_sentence(error)
    return [] if sentence is None else [printable(sentence)]
