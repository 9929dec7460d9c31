"""Write a student as ONNX or torch.export's format, compare it with PyTorch and time it.

tokenthrift export ckpt_path=logs/.../best.ckpt file=student.onnx         ONNX, checked and timed
tokenthrift export ckpt_path=logs/.../best.ckpt file=student.onnx int8=static   and in 8 bits
tokenthrift export backbone=deit_s ckpt_path=FILE rho=0.7 file=student.pt2
"""

from __future__ import annotations

from omegaconf import DictConfig

from ..shell.importing import without_collecting


def main(config: DictConfig) -> None:
    """Export, compare, time."""
    with without_collecting():
        from ..export.run import run_export

    run_export(config)


if __name__ == "__main__":
    from ..runs.command import start

    start("export", main)
