"""Predict photographs without labels: classes as csv, masks as png, boxes as JSON lines."""

if __name__ == "__main__":
    from src.shell.stopping import end_silently_while_importing

    end_silently_while_importing()

    from src.programs.predict import main
    from src.runs.command import start

    start("predict", main)
