"""Evaluate a checkpoint, released weights or a dense network at any keep ratio."""

if __name__ == "__main__":
    from src.shell.stopping import end_silently_while_importing

    end_silently_while_importing()

    from src.programs.eval import main
    from src.runs.command import start

    start("eval", main)
