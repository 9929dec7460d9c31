"""Results of a sweep that nobody trained: what its cells would leave, with numbers made up."""

from __future__ import annotations

import base64
import io
import json
from itertools import product
from pathlib import Path

from omegaconf import OmegaConf
from PIL import Image

SEEDS, RHOS, SCHEDULES = (1, 2, 3), (0.5, 0.7), ("geometric", "linear")
METHODS = {"vit_micro": "dynamicvit", "swin_micro": "asymmetric"}
# Top-1 of each setting, by seed.
ACCURACIES = {
    ("vit_micro", 0.5, "geometric"): (71.0, 74.0, 72.5),
    ("vit_micro", 0.5, "linear"): (69.1, 70.3, 71.9),
    ("vit_micro", 0.7, "geometric"): (77.3, 76.1, 78.2),
    ("vit_micro", 0.7, "linear"): (78.4, 77.7, 79.6),
    ("swin_micro", 0.5, "geometric"): (73.9, 75.2, 74.4),
    ("swin_micro", 0.5, "linear"): (75.5, 73.1, 74.1),
    ("swin_micro", 0.7, "geometric"): (80.2, 81.4, 80.9),
    ("swin_micro", 0.7, "linear"): (79.9, 80.0, 82.3),
}
DENSE = {"vit_micro": (80.1, 80.6, 79.8), "swin_micro": (83.0, 82.1, 82.7)}
GMACS = {"vit_micro": 1.0, "swin_micro": 1.4}
PLACE = {"batch_size": 32, "device": "cpu", "precision": "float32", "threads": 2, "torch": "2.14.1"}


def row_of(backbone: str, method: str, rho: float, schedule: str, seed: int) -> dict[str, object]:
    dense = GMACS[backbone]
    sparse = method != "dense"
    scores = ACCURACIES[backbone, rho, schedule] if sparse else DENSE[backbone]
    share = (rho + (0.04 if schedule == "linear" else 0.0)) if sparse else 1.0
    speedup = round(0.95 / share + 0.01 * seed, 3) if sparse else 1.0
    return {
        "backbone": backbone,
        "method": method,
        "rho": rho,
        "seed": seed,
        "acc1": scores[seed - 1],
        "acc5": scores[seed - 1] + 10,
        "task": {"metric": "acc1", "label": "top-1 accuracy (%)", "metrics": ["acc1", "acc5"]},
        "gmacs": dense * share,
        "gmacs_dense": dense,
        "gmacs_share": share,
        "params_m": 5.0,
        "images_per_s": 100 / dense * speedup,
        "images_per_s_dense": 100 / dense,
        "speedup": speedup,
        **PLACE,
    }


def save_cell(folder: Path, row: dict[str, object], words: list[str], maps: object = None) -> None:
    (folder / ".hydra").mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(row))
    (folder / "maps.json").write_text(json.dumps(maps))
    OmegaConf.save(OmegaConf.create(words), folder / ".hydra" / "overrides.yaml")


def maps_of(rho: float, seed: int) -> dict[str, object]:
    kept = [int(16 * rho**stage) for stage in (1, 2, 3)]
    bits = ["".join("1" if (3 * k + seed) % 16 < n else "0" for k in range(16)) for n in kept]
    return {
        "images": [picture(shade) for shade in (60, 160)],
        "locations": [2, 5, 8],
        "decisions": [[one, one] for one in bits],
        "sources": None,
    }


def picture(shade: int) -> str:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((160, 160)).point(lambda v: (v + shade) % 256).save(
        file, "JPEG"
    )
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def make_sweep(folder: Path, seeds: tuple[int, ...] = SEEDS) -> None:
    """Three seeds, two ratios, two schedules, two backbones, each sparse and dense."""
    for backbone, rho, schedule, seed in product(METHODS, RHOS, SCHEDULES, seeds):
        for method in (METHODS[backbone], "dense"):
            words = [f"backbone={backbone}", f"method={method}", f"rho={rho}"]
            words += [f"schedule={schedule}", f"seed={seed}", "trainer=cpu"]
            maps = maps_of(rho, seed) if method != "dense" else None
            row = row_of(backbone, method, rho, schedule, seed)
            save_cell(folder / ",".join(sorted(words)), row, words, maps)
