"""Compare methods and keep ratios with the dense network: accuracy, speed, memory, in one run.

tokenthrift frontier                                             embedded digits, minutes on a CPU
tokenthrift frontier backbone=deit_s datamodule.root=DIR         all methods that need no training
tokenthrift frontier backbone=deit_s datamodule.root=DIR methods=[tome,evit] ratios=[0.8,0.6]
tokenthrift frontier checkpoints=[runs/a/last.ckpt]              trained students beside them

The same command again takes the accuracies that its folder holds and times everything anew.
"""

from __future__ import annotations

from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    """Evaluate and time the students, and write tables, a picture and a page."""
    from .run import run_frontier

    run_frontier(config)


def run() -> None:
    """Run `main` for the command line."""
    from ...runs.command import start

    start("frontier", main)


if __name__ == "__main__":
    run()
