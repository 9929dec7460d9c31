"""Checkpoints in the released format, filled by rule, and the numbers that go with them."""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent / "reference"


@dataclass(frozen=True)
class Reference:
    """One model's settings and results."""

    settings: dict[str, Any]
    results: dict[str, np.ndarray]

    @classmethod
    def read(cls, name: str) -> "Reference":
        return cls(
            json.loads((FOLDER / f"{name}.json").read_text()),
            dict(np.load(FOLDER / f"{name}.npz")),
        )

    def result(self, name: str) -> Tensor:
        return torch.from_numpy(self.results[name])

    def images(self) -> Tensor:
        draw = np.random.default_rng(self.settings["input_seed"])
        return torch.from_numpy(draw.standard_normal((3, 3, 224, 224), dtype=np.float32))

    def soft_labels(self) -> Tensor:
        draw = np.random.default_rng(self.settings["input_seed"] + 1)
        return torch.from_numpy(draw.standard_normal((3, 1000), dtype=np.float32)).softmax(-1)

    def weights(self) -> dict[str, Tensor]:
        return {key: _value(key, shape) for key, shape in self.settings["keys"].items()}


def _value(key: str, shape: list[int]) -> Tensor:
    draw = np.random.default_rng(zlib.crc32(key.encode()))
    noise = draw.standard_normal(shape, dtype=np.float32)
    last = key.rpartition(".")[2]
    if last == "running_var":
        value = np.abs(1 + 0.1 * noise)
    elif last in ("cls_token", "pos_embed", "relative_position_bias_table"):
        value = 0.5 * noise
    elif len(shape) == 1:
        centre = 1.0 if last == "weight" else 0.5 if "gamma" in last else 0.0
        value = centre + 0.1 * noise
    else:
        value = noise / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(value, dtype=np.float32))
