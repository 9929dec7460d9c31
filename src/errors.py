"""The one exception that means "your input is wrong", and how an entry point reports it."""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from .stopping import Stopped, ended_by_signals, stop_wins

# Libraries' own ways to say that the input is wrong: package and class, so that none is imported.
_ALIKE = {
    ("hydra", "HydraException"),
    ("omegaconf", "OmegaConfBaseException"),
    ("yaml", "YAMLError"),
    ("lightning", "MisconfigurationException"),
    ("wandb", "Error"),
}
# What the file system says of a place that it does not let us use.
_PLACE = {
    errno.EPERM,
    errno.EACCES,
    errno.EEXIST,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
}
# How gloo and NCCL say that they wait in vain.
_PEER_IS_GONE = "gloo/transport.*(peer|[Tt]imed out|[Tt]imeout)|ncclRemoteError"


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
    sentence = _library_sentence(error)
    return [] if sentence is None else [printable(sentence)]


def _library_sentence(error: Exception) -> str | None:
    if str(error).startswith("Config group override must be"):  # Hydra's only bare ValueError
        return "A group on the command line is null: choose one of its options, or [] for none."
    if str(error).startswith("DataLoader worker (pid"):  # PyTorch's bare RuntimeError
        return (
            f"{one_sentence(str(error)).rstrip('.')}: the system may have wanted its memory, so "
            "try a smaller datamodule.num_workers or datamodule.batch_size."
        )
    if isinstance(error, RuntimeError) and re.search(_PEER_IS_GONE, str(error)):
        return (
            "Another process of this run has ended, so that this one cannot go on: see what it "
            "said, then give the same command with ckpt_path=last and this run's hydra.run.dir."
        )
    if isinstance(error, OSError) and error.errno in _PLACE:
        return f"{error.filename or 'A file'} cannot be written or read: {error.strerror}."
    kinds = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(error).__mro__}
    if not kinds & _ALIKE:
        return None
    return _unknown_option(error) or _unknown_key(error.__cause__) or _shortened(error)


def _unknown_option(error: Any) -> str | None:
    """For `backbone=resnet`: what else the group offers."""
    path = getattr(error, "missing_cfg_file", None)
    if not path:
        return None
    group, _, option = path.rpartition("/")
    options = getattr(error, "options", None)
    choices = f"choose one of {', '.join(options)}" if options else f"see the files in conf/{group}"
    return f"{group}={option} does not exist: {choices}."


def _unknown_key(error: Any) -> str | None:
    """For `trainer.epochs=3`: what the key may have been meant to be."""
    key, parent = getattr(error, "full_key", None), getattr(error, "parent_node", None)
    if "is not in struct" not in str(error) or key is None:
        return None
    names = [str(name) for name in parent or () if name != "hydra" and not name.startswith("_")]
    close = get_close_matches(str(error.key), names, n=1, cutoff=0.5)
    suggestion = f" (did you mean {close[0]}?)" if close else ""
    where = key.rpartition(".")[0]
    whose = f"{where} has" if where else "there are"
    return f"{key} is not a setting{suggestion}: {whose} {', '.join(names) or 'none'}."


def _shortened(error: Any) -> str:
    override = getattr(error, "override", None)
    library = type(error).__module__.partition(".")[0]
    subject = f"{library}: " if library in ("lightning", "wandb") else ""
    subject += f"{override!r} on the command line: " if override else ""
    message = str(error) or str(error.__cause__)
    if message.startswith("Ambiguous value"):
        return f"{message.splitlines()[0]}: add -m to sweep over it, or write [a,b] for a list."
    key = getattr(error, "full_key", None)
    message = re.sub(r"\n\s*(full_key|object_type|reference_type)[:=].*", "", message)
    return one_sentence(subject + message + (f" (in {key})" if key else ""))
