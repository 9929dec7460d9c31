"""Train a sparse network: `python train.py backbone=deit_s rho=0.7 datamodule.root=...`."""

if __name__ == "__main__":
    from src.shell.stopping import end_silently_while_importing

    end_silently_while_importing()

    from src.programs.train import main
    from src.runs.command import start

    start("train", main)
