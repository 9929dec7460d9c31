"""Declares which values the settings of libraries' classes may have, for they cannot do it."""

from __future__ import annotations

import torch
from typing_extensions import override

from ..ranges import Allowed, Number, Pair


class Precision(Allowed):
    """Accepts any precision of Lightning's that keeps the weights in 32 bits."""

    @override
    def fault(self, key: str, value: object) -> str:
        if str(value) not in ("64", "64-true", "16-true", "bf16-true"):
            return ""
        return (
            f"{key}={value} is not supported, for weights stay in 32 bits: choose 32-true, "
            "bf16-mixed or 16-mixed."
        )


class Accelerator(Allowed):
    """Accepts any accelerator of Lightning's that PyTorch finds on this machine."""

    @override
    def fault(self, key: str, value: object) -> str:
        found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        found["gpu"] = any(found.values())
        if found.get(str(value), True):
            return ""
        return (
            f"{key}={value}, but PyTorch sees no such device here: choose trainer=cpu, or "
            "trainer=default for whatever there is."
        )


# By library and class; subclasses have the settings too.
SETTINGS: dict[str, dict[str, Allowed]] = {
    "lightning.Trainer": {
        "max_epochs": Number(30, least=1, whole=True),
        "accumulate_grad_batches": Number(1, least=1, whole=True),
        "accelerator": Accelerator(),
        "precision": Precision(),
    },
    "lightning.EMAWeightAveraging": {"decay": Number(0.9999, least=0, most=1)},
    "torch.Optimizer": {"betas": Pair("[0.9,0.999]", Number(0.9, least=0, below=1))},
}
