"""Declares the settings at the top of `conf/train.yaml`, and the parts that it is made of."""

from __future__ import annotations

from ..modules.schedules import RHO
from ..ranges import Allowed, ExistingFile, Number

SETTINGS: dict[str, Allowed] = {
    "rho": RHO,
    "seed": Number(42, least=0, most=2**32 - 1, whole=True),
    "throughput_batch": Number(32, least=1, whole=True),
    "ckpt_path": ExistingFile("a checkpoint", instead="last"),
}
NEEDED = ("task", "method", "schedule", "loss", "datamodule", "backbone", "optimizer", "trainer")
LISTED = ("loss", "callbacks", "logger")  # groups of named parts, each with its settings or null
