"""Time sparse against dense on this machine: `python -m src.bench --backbone deit_s`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from .errors import one_sentence_errors
from .evaluation import cost_and_speed, print_table, write_csv
from .modules import create_student
from .modules.build import compose_config

SHOWN = ("backbone", "rho", "batch_size", "gmacs", "gmacs_share", "speedup", "efficiency")
COLUMNS = (*SHOWN, "images_per_s", "images_per_s_dense", "device", "threads", "torch")


def main() -> None:
    """Print a table and write it to a csv."""
    parser = argparse.ArgumentParser(
        description="Dense and sparse inference timed in turns; medians of the turns. "
        "efficiency = speed-up x share of MACs: 1 where the clock saves what paper promises."
    )
    parser.add_argument("--backbone", default="deit_s", help="name in conf/backbone")
    parser.add_argument("--method", help="name in conf/method; the backbone's own by default")
    parser.add_argument("--rho", type=float, nargs="+", default=[0.9, 0.7, 0.5])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32], help="batch sizes")
    parser.add_argument(
        "--image-size", type=int, help="side in pixels; the backbone's own if not given"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("reports/bench/results.csv"))
    arguments = parser.parse_args()
    rows = []
    with one_sentence_errors():
        size = arguments.image_size or _image_size(arguments.backbone)
        for rho in arguments.rho:
            student = create_student(
                arguments.backbone, rho=rho, method=arguments.method, image_size=size
            )
            student.to(arguments.device).eval()
            for batch in arguments.batch:
                measured = cost_and_speed(student, size, batch)
                measured["efficiency"] = measured["speedup"] * measured["gmacs_share"]
                rows.append({"backbone": arguments.backbone, "rho": rho, **measured})
        print_table(rows, SHOWN)
        write_csv(rows, arguments.out, COLUMNS)
    print(f"Written to {arguments.out}")


def _image_size(backbone: str) -> int:
    size: int = compose_config([f"backbone={backbone}"], ["backbone"])["backbone"]["image_size"]
    return size


if __name__ == "__main__":
    main()
