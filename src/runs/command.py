"""Starts a program on the command line of its process."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

import hydra
from omegaconf import DictConfig

from ..config import ASSETS, CONF, PACKAGE
from ..shell.arguments import flags_first, for_hydra, with_path
from ..shell.help import help_if_asked
from ..shell.importing import without_collecting
from ..shell.program import one_sentence_errors
from ..shell.quiet import quiet_libraries
from .folders import name_run, name_sweep


def start(program: str, main: Callable[[DictConfig], float | None], *defaults: str) -> None:
    """Run a Hydra application; bad input ends it with one sentence and exit code 2.

    In this order: `--help` is answered; all programs but `train` take the choices of the run
    behind their checkpoint as defaults; the folders of runs and sweeps get their names; what was
    typed is put into Hydra's grammar.

    Args:
        program: The name of a file in `conf`, which is composed with the command line.
        main: What is called with the settings, once for each cell of a sweep; the docstring of its
            module is the text of `--help`, and its `PATHS`, if any, name settings that hold a path
            to this program alone.
        *defaults: Overrides in front of the command line's.
    """
    with one_sentence_errors():
        arguments = [*defaults, *sys.argv[1:]]
        module = sys.modules[main.__module__]
        for key in getattr(module, "PATHS", ()):
            arguments = with_path(arguments, key)
        help_if_asked(program, module.__doc__ or "", arguments)
        quiet_libraries()
        os.environ.setdefault("TOKENTHRIFT_PACKAGE", PACKAGE)
        os.environ.setdefault("TOKENTHRIFT_ASSETS", str(ASSETS))
        if program in ("train", "predict"):
            name_run()
        if program != "train":
            with without_collecting():
                from .record import add_recorded_choices  # late, for the sake of `--help`

            arguments = add_recorded_choices(arguments)
        sys.argv[1:] = flags_first(for_hydra(name_sweep(arguments)))
        try:
            hydra.main(str(CONF), program, version_base="1.3")(main)()
        finally:
            _close_logs()


def _close_logs() -> None:
    """Close the log file of the last job, which Hydra leaves open."""
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, logging.FileHandler):
            root.removeHandler(handler)
            handler.close()
