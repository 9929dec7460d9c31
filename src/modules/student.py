"""Sparsifies given networks and creates students by name: the library's functions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import timm
from torch import nn

from ..checkpoints.checkpoint import Checkpoint
from ..config import Settings, instantiate, option
from ..errors import InputError
from ..ranges import Number
from . import networks  # noqa: F401 - registers them with timm
from .backbones import SparseBackbone, family_of
from .backbones.base import height_and_width
from .backbones.own_parts import check_own_parts
from .choices import (
    RATIOS,
    MethodLike,
    choose_method,
    choose_schedule,
    listed,
    schedule_name,
)
from .huggingface.twin import is_of_transformers, timm_twin
from .methods.base import Method
from .networks.create import build_network, own_classes, warn_of_margin
from .schedules import KeepSchedule
from .weights import load_weights

log = logging.getLogger(__name__)

CLASSES = Number(10, least=0, whole=True, optional=True)


def sparsify(
    network: nn.Module,
    *,
    rho: float | None = None,
    ratios: Sequence[float] | None = None,
    locations: Sequence[int] | None = None,
    schedule: str | KeepSchedule | None = None,
    method: str | type[Method] | None = None,
    **options: object,
) -> SparseBackbone:
    """Put a method beside a given timm network, whose weights are used as they are.

    Device, precision and mode (training or evaluation) are the network's, which is not changed.
    Warns of a keep ratio that the method ignores.

    Args:
        network: A timm network of a known family (see docs/coverage.md), or an LVViT. A model of
            transformers is replaced by its `timm_twin`, with copied weights.
        rho: Base keep ratio in (0, 1], 0.7 by default. At 1 `geometric`, `linear` and `constant`
            keep everything; `arithmetic`, the hierarchical networks', keeps 1, 0.8, 0.6.
        ratios: Explicit keep ratios, one for each location, instead of rho and schedule.
        locations: Blocks before (in a hierarchical network's third stage: in) which decisions are
            taken; by default the papers': after each quarter, or early in the third stage.
        schedule: Name in `conf/schedule`, by default the papers' for such a network; or a
            `KeepSchedule`, which contains ratios and locations.
        method: Name in `conf/method`, or a `Method` class; by default the papers' for such a
            network.
        **options: The method's own, such as `r=13` of ToMe.

    Raises:
        InputError: One sentence on what does not fit.
    """
    if is_of_transformers(network):
        network = timm_twin(network)
    family = family_of(network)
    if not isinstance(schedule, KeepSchedule):
        name = schedule_name(rho, ratios, schedule) or family.natural_schedule
        if locations is None:
            count = 3 if ratios is None else len(listed("ratios", ratios, RATIOS))
            locations = family.natural_locations(family.geometry(network).depth, count)
        schedule = choose_schedule(name, rho, ratios, locations)
    elif (rho, ratios, locations) != (None, None, None):
        raise InputError(
            f"schedule={schedule} has ratios and locations: leave out rho, ratios and locations."
        )
    student = attach(network, choose_method(method or family.natural_method, options), schedule)
    if reason := student.method.ignores_rho:
        for name, value in (("rho", rho), ("ratios", ratios)):
            if value is not None:
                log.warning(f"{name}={value!r} changes nothing here: {reason}.")
    return student


def create_student(
    name: str,
    *,
    rho: float | None = None,
    ratios: Sequence[float] | None = None,
    locations: Sequence[int] | None = None,
    schedule: str | KeepSchedule | None = None,
    method: str | type[Method] | None = None,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    pretrained: bool = False,
    weights: str | Path | None = None,
    **options: Any,
) -> SparseBackbone:
    """Create a student by the name of its yaml in `conf/backbone`.

    Args:
        name: Such as `"deit_s"`.
        rho: As `sparsify`.
        ratios: As `sparsify`.
        locations: As `sparsify`; the backbone's own by default.
        schedule: As `sparsify`.
        method: As `sparsify`.
        num_classes: Outputs, 0 for the pooled embedding; the network's own number by default.
        image_size: Height and width of the input in pixels, or one number for both; the yaml's by
            default.
        pretrained: Download timm's weights of the dense network.
        weights: A file for `load_weights`.
        **options: The method's own, as `r=13` of ToMe.

    Raises:
        InputError: One sentence on what does not fit.
    """
    try:
        backbone = option("backbone", name)["backbone"]
    except InputError as error:
        if not isinstance(name, str) or not timm.is_model(name):
            raise
        raise InputError(
            f"name={name!r} is timm's name of a network: write "
            f"sparsify(timm.create_model({name!r})), or choose one of conf/backbone, as deit_s."
        ) from error
    backbone |= {"pretrained": pretrained, "weights": weights}
    if fault := CLASSES.fault("num_classes", num_classes):
        raise InputError(fault)
    if image_size is not None:
        height_and_width(image_size)
        backbone["image_size"] = image_size
    plan: dict[str, Any] = {"rho": rho, "ratios": ratios, "schedule": schedule}
    plan["locations"] = backbone["locations"] if locations is None else locations
    if isinstance(schedule, KeepSchedule) and locations is None:
        plan["locations"] = None
    for group, chosen in (("schedule", schedule), ("method", method)):
        if isinstance(chosen, str):
            option(group, chosen)  # a wrong name is refused before anything is built
    sparsified = partial(sparsify, method=method, **plan, **options)
    outputs = own_classes(backbone["network"]) if num_classes is None else num_classes
    return _with_weights(backbone, sparsified, outputs)


def build_student(
    backbone: Settings,
    method: MethodLike | None,
    schedule: Settings | KeepSchedule,
    num_classes: int,
    any_size: bool = False,
    checkpoint: Checkpoint | None = None,
) -> SparseBackbone:
    """Build a student with the weights that `backbone` asks for and a head for `num_classes`.

    A file for another number of classes is loaded first; then its head is replaced by a new one,
    or dropped where `num_classes` is 0.

    Args:
        backbone: As in `conf/backbone`.
        method: As `attach` takes it.
        schedule: As `attach` takes it.
        num_classes: Outputs; 0 for no classifier.
        any_size: Make the network accept images of any size.
        checkpoint: The file `backbone["weights"]`, if it has been read already.

    Raises:
        InputError: One sentence on what does not fit.
    """
    sparsified = partial(attach, method=method, schedule=schedule)
    return _with_weights(backbone, sparsified, num_classes, any_size, checkpoint)


def _with_weights(
    backbone: Settings,
    sparsified: Callable[[nn.Module], SparseBackbone],
    num_classes: int,
    any_size: bool = False,
    checkpoint: Checkpoint | None = None,
) -> SparseBackbone:
    file = backbone.get("weights")
    if file and checkpoint is None:
        checkpoint = Checkpoint.read(file)
    stored = checkpoint.num_classes if checkpoint else None
    pretrained = bool(backbone.get("pretrained")) and not checkpoint
    network = build_network(backbone, stored or num_classes, pretrained, any_size)
    student = sparsified(network)
    if checkpoint:
        log.info(load_weights(student, checkpoint))
    if stored and stored != num_classes:
        network.reset_classifier(num_classes)
        student.class_names = None
    known = own_classes(backbone["network"]) if pretrained else num_classes
    student.head_is_new = num_classes != (stored or 0 if checkpoint else known)
    if stored and stored != num_classes > 0:
        log.warning(f"{file} is for {stored} classes: the head for {num_classes} is new.")
    return student


def attach(
    network: nn.Module,
    method: MethodLike | None,
    schedule: Settings | KeepSchedule,
) -> SparseBackbone:
    """Put a method beside `network`, on its device, in its precision and in its mode.

    Warns of a schedule that drops something at rho=1, and of pixels that no patch covers.

    Args:
        network: A timm network of a known family.
        method: Settings as in `conf/method`, or a function of `schedule` and `geometry` that makes
            a method; None for the papers' choice.
        schedule: Settings as in `conf/schedule`, or a `KeepSchedule`.

    Raises:
        InputError: One sentence on what does not fit.
    """
    family = family_of(network)
    warn_of_margin(network)
    if method is None:
        method = option("method", family.natural_method)
    make = partial(instantiate, method) if isinstance(method, Mapping) else method
    plan = instantiate(schedule) if isinstance(schedule, Mapping) else schedule
    made = make(schedule=plan, geometry=family.geometry(network))
    made.settings = dict(method) if isinstance(method, Mapping) else None
    student = family(network, _placed(made, network).train(network.training))
    student.training = network.training
    check_own_parts(student)
    ratios = student.method.schedule.ratios
    if plan.rho == 1 and min(ratios, default=1) < 1:
        log.warning(
            f"rho=1 is not dense under this schedule, which keeps "
            f"{', '.join(f'{ratio:.4g}' for ratio in ratios)}: choose method=dense for the dense "
            "network, or schedule=geometric, which keeps everything at rho=1."
        )
    return student


def _placed(method: Method, network: nn.Module) -> Method:
    """Move `method` to the device of `network`'s first parameter, in its first floating dtype."""
    weights = list(network.parameters())
    dtype = next((weight.dtype for weight in weights if weight.is_floating_point()), None)
    return method.to(weights[0].device, dtype) if weights else method
