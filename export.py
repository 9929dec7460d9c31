"""Write a student as ONNX or torch.export's format, compare it with PyTorch and time it."""

if __name__ == "__main__":
    from src.shell.stopping import end_silently_while_importing

    end_silently_while_importing()

    from src.programs.export import main
    from src.runs.command import start

    start("export", main)
