"""What several test files share."""

import logging
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import torch
from hydra.core.global_hydra import GlobalHydra

ROOT = Path(__file__).resolve().parents[1]

# For what does not depend on the network: a third of `vit_micro`, with as many locations.
SHALLOW = ("+backbone.options.depth=4", "schedule.locations=[1,2,3]")


class one_process:
    """Put back what an entry point changes for its whole process, which works in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        self.argv, self.cwd, self.environment = sys.argv, Path.cwd(), dict(os.environ)
        root = logging.getLogger()
        self.handlers, self.level = root.handlers[:], root.level
        os.chdir(self.folder)

    def __exit__(self, *error: object) -> None:
        GlobalHydra.instance().clear()
        sys.argv = self.argv
        os.chdir(self.cwd)
        os.environ.clear()
        os.environ.update(self.environment)
        root = logging.getLogger()
        for handler in set(root.handlers) - set(self.handlers):
            handler.close()
        root.handlers[:] = self.handlers
        root.setLevel(self.level)
        logging.getLogger("src").handlers.clear()
        torch.set_float32_matmul_precision("highest")


def run(command: Sequence[object]) -> int:
    """Run an entry point as `python` would, but in this process, and return its exit code."""
    sys.argv = [str(word) for word in command]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def quiet_trainer(**options: object) -> L.Trainer:
    """Make a trainer for one CPU process that shows and logs nothing."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    options = {"accelerator": "cpu", "devices": 1, "num_sanity_val_steps": 0, **quiet, **options}
    return L.Trainer(**options)
