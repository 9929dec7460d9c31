"""The one exception that means "your input is wrong", and how an entry point reports it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """A setting, file or image that cannot be used.

    Its message is one sentence that names the thing, the value and what would be valid.
    """


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Turn an `InputError` into its sentence on stderr and exit code 2, without a traceback."""
    try:
        yield
    except InputError as error:
        # A DataLoader worker prefixes the message with its own traceback.
        sentence = str(error).rsplit("InputError: ", 1)[-1].strip()
        print(f"error: {sentence}", file=sys.stderr)
        sys.exit(2)
