"""Starts a program on the command line of its process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ..shell.arguments import flags_first, for_hydra
from ..shell.help import help_if_asked
from ..shell.program import one_sentence_errors
from .folders import name_run, name_sweep


def start(program: str, main: Callable[[], Any], *defaults: str) -> None:
    """Run a Hydra application; bad input ends it with one sentence and exit code 2.

    In this order: `--help` is answered; `eval` and `export` take the choices of the run behind
    their checkpoint as defaults; the folders of runs and sweeps get their names; what was typed is
    put into Hydra's grammar.

    Args:
        program: `train`, `eval` or `export`: the name of a file in `conf`.
        main: What `hydra.main` returns; it reads `sys.argv`.
        *defaults: Overrides in front of the command line's.
    """
    with one_sentence_errors():
        arguments = [*defaults, *sys.argv[1:]]
        help_if_asked(program, arguments)
        if program == "train":
            name_run()
        else:
            from .record import add_recorded_choices  # late, for the sake of `--help`

            arguments = add_recorded_choices(arguments)
        sys.argv[1:] = flags_first(for_hydra(name_sweep(arguments)))
        main()
