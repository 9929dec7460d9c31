"""Train a sparse network: `python train.py backbone=deit_s rho=0.7 datamodule.root=...`."""

if __name__ == "__main__":
    from src.shell.stopping import end_silently_while_importing

    end_silently_while_importing()

import hydra
from omegaconf import DictConfig


@hydra.main(config_path="conf", config_name="train", version_base="1.3")
def main(config: DictConfig) -> float | None:
    """Train; return the monitored metric for a sweeper."""
    from src.runs.training import train

    return train(config)


if __name__ == "__main__":
    from src.runs.command import start

    start("train", main)
