"""Write a student as ONNX or torch.export's format, compare it with PyTorch and time it."""

if __name__ == "__main__":
    from src.shell.stopping import end_silently_while_importing

    end_silently_while_importing()

import hydra
from omegaconf import DictConfig


@hydra.main(config_path="conf", config_name="export", version_base="1.3")
def main(config: DictConfig) -> None:
    """Export, compare, time."""
    from src.export.run import run_export

    run_export(config)


if __name__ == "__main__":
    from src.runs.command import start

    start("export", main)
