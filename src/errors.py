"""The one exception that means "your input is wrong", and how an entry point reports it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """A setting, file or image that cannot be used.

    Its message is one sentence that names the thing, the value and what would be valid.
    """


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Turn bad input into its sentence on stderr and exit code 2, without a traceback.

    Anything else keeps its full traceback: it is a fault of the program.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # else Hydra prints and exits by itself
    try:
        yield
    except InputError as error:
        # A DataLoader worker prefixes the message with its own traceback.
        _exit(str(error).rsplit("InputError: ", 1)[-1])
    except (HydraException, OmegaConfBaseException) as error:
        _exit(str(error))


def _exit(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
