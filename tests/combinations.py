"""The smallest network of each family, and the methods of `conf/method` that fit it."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
from omegaconf import OmegaConf
from torch import nn

from src.errors import InputError
from src.modules.backbones import SparseBackbone, family_of
from src.modules.backbones.sequence import SequenceBackbone
from src.modules.methods.base import TokenReduction
from src.modules.student import attach

FILES = Path(__file__).parents[1] / "conf" / "method"
METHODS: dict[str, dict[str, Any]] = {
    path.stem: OmegaConf.to_container(OmegaConf.load(path))  # type: ignore[misc]
    for path in sorted(FILES.glob("*.yaml"))
}
VIT = {"embed_dim": 64, "num_heads": 4, "depth": 4, "img_size": 64, "num_classes": 5}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit_tiny_patch16_224", VIT),
    "eva": ("vit_small_patch16_rope_224.naver_in1k", VIT),
    "lvvit": ("lvvit_s", VIT),
    "beit": ("beit_base_patch16_224", VIT),
    "relpos": ("vit_relpos_medium_patch16_cls_224", VIT),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"embed_dim": 16, "depths": (1, 1, 3), "num_heads": (1, 2, 4), "window_size": 2}
        | {"img_size": 64, "num_classes": 5},
    ),
    "convnext": (
        "convnext_tiny",
        {"depths": (1, 1, 3, 1), "dims": (8, 16, 32, 64), "num_classes": 5},
    ),
}


def make_network(name: str, depth: int = 4) -> nn.Module:
    """Return a new one for images of 64 pixels.

    A plain transformer has `depth` blocks, a hierarchical network's third stage at most 3.
    """
    network, options = NETWORKS[name]
    if "depth" in options:
        options = options | {"depth": depth}
    else:
        first, second, _, *rest = options["depths"]
        options = options | {"depths": (first, second, min(depth, 3), *rest)}
    return timm.create_model(network, **options)


def make_student(name: str, method: str, depth: int = 4) -> SparseBackbone:
    """Return a new network with `method` beside it; see `beside`."""
    return beside(make_network(name, depth), method)


def beside(network: nn.Module, method: str) -> SparseBackbone:
    """Return `network` with `method` beside it, which keeps a half at each natural location."""
    family = family_of(network)
    natural = family.natural_locations(family.geometry(network).depth, 3)
    sequence = issubclass(family, SequenceBackbone)
    locations = [place for place in natural if place or not sequence]  # some read the block before
    plan = {"_target_": "src.modules.schedules.geometric", "rho": 0.5, "locations": locations}
    return attach(network, METHODS[method], plan)


def shaken(student: SparseBackbone, by: float = 0.1) -> SparseBackbone:
    """Add noise to all parameters, for untrained networks hardly tell tokens apart."""
    for parameter in student.parameters():
        parameter.data += by * torch.randn_like(parameter)
    return student.eval()


@cache
def students_of(name: str) -> dict[str, SparseBackbone]:
    """Return students without data by the methods that this network does not refuse."""
    students = {}
    with torch.device("meta"):
        network = make_network(name)
        for method in METHODS:
            with suppress(InputError):
                students[method] = beside(network, method)
    return students


def parts_of(node: object) -> set[str]:
    """Return the classes that a method's file names, however deep."""
    if not isinstance(node, dict):
        return set()
    own = {node["_target_"]} if "_target_" in node else set()
    return own.union(*map(parts_of, node.values()))


def covering(name: str) -> list[str]:
    """Return methods of this network, so few that each of the classes they name occurs in one.

    For what is costly: selectors and disposals combine freely, and all pairs are in `CASES`.
    """
    kept = list(students_of(name))
    for method in list(kept):
        others = [parts_of(METHODS[other]) for other in kept if other != method]
        if parts_of(METHODS[method]) <= set().union(*others):
            kept.remove(method)
    return kept


def enough_blocks(name: str, method: str) -> int:
    """Return the depth of a network that shows all that a method computes.

    Two, with one location between them; three where tokens that stand for several patches meet
    the method again. Each block costs a graph's tracing and translation again.
    """
    made = students_of(name)[method].method
    return 3 if isinstance(made, TokenReduction) and made.merges else 2


CASES = [(name, method) for name in NETWORKS for method in students_of(name)]
