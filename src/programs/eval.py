"""Evaluate a checkpoint, released weights or a dense network at any keep ratio.

tokenthrift eval ckpt_path=logs/.../best.ckpt rho=0.5          a checkpoint at any keep ratio
tokenthrift eval backbone=deit_s ckpt_path=FILE datamodule.root=DIR   released or dense weights
tokenthrift eval -m backbone=deit_s method=evit,tome,dense rho=0.7,0.5 datamodule.root=DIR
tokenthrift eval ckpt_path=FILE predictions=predictions.csv token_maps=tokens.png
"""

from __future__ import annotations

from omegaconf import DictConfig

from ..shell.importing import without_collecting


def main(config: DictConfig) -> float | None:
    """Evaluate; return the task's metric in percent."""
    with without_collecting():
        from ..runs.evaluation import run_evaluation

    return run_evaluation(config)


if __name__ == "__main__":
    from ..runs.command import start

    start("eval", main)
