"""Run a program of the command line: `tokenthrift train|eval|predict|export|sweep|bench ...`."""

from __future__ import annotations

import ast
import difflib
import pkgutil
import runpy
import sys
from pathlib import Path
from typing import NoReturn

from . import __version__, programs
from .errors import printable
from .shell.stopping import end_silently_while_importing

_FOLDER = Path(programs.__path__[0])


def run() -> None:
    """Hand the command line over to the program that its first word names.

    The program runs as `__main__`, as with `python -m`, so that what starts processes again
    (Lightning on several devices, launchers of sweeps) finds it.
    """
    end_silently_while_importing()
    names = [module.name for module in pkgutil.iter_modules([str(_FOLDER)])]
    first = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if first in ("-h", "--help"):
        print(overview(names))
    elif first == "--version":
        print(f"tokenthrift {__version__}")
    elif first in names:
        del sys.argv[1]
        _run_program(first)
    else:
        near = difflib.get_close_matches(first, names, 1)
        guess = f" (did you mean {near[0]}?)" if near else ""
        _refuse(f"tokenthrift has no program {first}{guess}: choose {', '.join(names)}.")


def _run_program(name: str) -> None:
    try:
        runpy.run_module(f"{programs.__name__}.{name}", run_name="__main__", alter_sys=True)
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith(str(__package__)):
            raise
        _refuse(
            f"tokenthrift {name} needs the package {error.name}, which is not installed: "
            "pip install 'tokenthrift[train]'."
        )


def _refuse(sentence: str) -> NoReturn:
    print(f"error: {printable(sentence)}", file=sys.stderr)
    sys.exit(2)


def overview(names: list[str]) -> str:
    """Return what each program does, by the first line of its file, without importing one."""
    lines = ["tokenthrift: spend a vision network's compute where the image needs it", ""]
    lines += ["Usage: tokenthrift PROGRAM setting=value ...", ""]
    for name in names:
        text = ast.get_docstring(ast.parse((_FOLDER / f"{name}.py").read_text("utf-8"))) or ""
        lines.append(f"  {name:<10}{text.splitlines()[0]}")
    return "\n".join([*lines, "", "tokenthrift PROGRAM --help: its settings and examples."])


if __name__ == "__main__":
    run()
