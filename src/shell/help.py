"""Prints `--help`, in a third of the time that Hydra takes to look up the options."""

from __future__ import annotations

import sys

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ..config import CONF
from .arguments import for_hydra, parsed
from .program import command


def help_if_asked(program: str, description: str, arguments: list[str]) -> None:
    """Print help and exit if `-h` or `--help` is among the arguments.

    Args:
        program: The name of a file in `conf`.
        description: What the program does in one line, and examples below it.
        arguments: The command line; its overrides count for the settings shown.
    """
    if not {"-h", "--help"} & set(arguments):
        return
    words = [word for word in for_hydra(arguments) if not word.startswith("-")]
    read = {word: parsed(word) for word in words}
    overrides = [word for word, one in read.items() if one is None or not one.is_sweep_override()]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(program, overrides=overrides)
    groups = sorted(path for path in CONF.iterdir() if path.is_dir() and path.name != "hydra")
    print(f"{description.strip().replace('tokenthrift ' + program, command(program))}\n")
    print("Choices (group=option)")
    for group in groups:
        print(f"  {group.name}: {', '.join(sorted(path.stem for path in group.glob('*.yaml')))}")
    print("\nSettings (override as key=value; below is what the given choices amount to)\n")
    print(OmegaConf.to_yaml(config))
    print("Hydra's own flags: --hydra-help")
    sys.exit(0)
