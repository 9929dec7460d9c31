"""Evaluate a checkpoint, released weights or a dense network at any keep ratio."""

if __name__ == "__main__":
    from src.shell.stopping import end_silently_while_importing

    end_silently_while_importing()

import hydra
from omegaconf import DictConfig


@hydra.main(config_path="conf", config_name="eval", version_base="1.3")
def main(config: DictConfig) -> float | None:
    """Evaluate; return the task's metric in percent."""
    from src.runs.evaluation import run_evaluation

    return run_evaluation(config)


if __name__ == "__main__":
    from src.runs.command import start

    start("eval", main)
