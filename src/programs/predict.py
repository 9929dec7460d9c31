"""Predict photographs without labels: classes as csv, masks as png, boxes as JSON lines.

tokenthrift predict ckpt_path=logs/.../best.ckpt images=photos     a folder, at any depth
tokenthrift predict ckpt_path=FILE images='photos/**/*.jpg' top_k=5 predictions=predictions.csv
tokenthrift predict ckpt_path=FILE images=list.txt pictures=pictures   what is kept, and overlays
tokenthrift predict ckpt_path=student.onnx images=photo.jpg        or student.safetensors
tokenthrift predict backbone=deit_s method=evit rho=0.5 images=photos  a pretrained network
"""

from __future__ import annotations

from omegaconf import DictConfig

from ..shell.importing import without_collecting

PATHS = ("images",)  # settings that hold a path, although their name does not say so


def main(config: DictConfig) -> None:
    """Predict, write, say where."""
    with without_collecting():
        from ..runs.prediction import run_prediction

    run_prediction(config)


if __name__ == "__main__":
    from ..runs.command import start

    start("predict", main)
