"""The library: sparsifies networks that you have, and creates students by name."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from ..checkpoints.checkpoint import Checkpoint
from ..config import instantiate, locate, option
from ..errors import InputError
from . import networks  # noqa: F401 - registers them with timm
from .backbones import SparseBackbone, family_of
from .methods.base import Method
from .networks.create import build_network, own_classes, warn_of_margin
from .schedules import KeepSchedule
from .weights import load_weights

log = logging.getLogger(__name__)

_RATIOS = "(0.7, 0.49, 0.343)"
_GIVEN = ("schedule", "geometry")  # to every method
# A method's settings as in `conf/method`, or whatever makes one of a schedule and a geometry.
MethodLike = Mapping[str, Any] | Callable[..., Method]


def sparsify(
    network: nn.Module,
    *,
    rho: float | None = None,
    ratios: Sequence[float] | None = None,
    locations: Sequence[int] | None = None,
    schedule: str | KeepSchedule | None = None,
    method: str | type[Method] | None = None,
    **options: Any,
) -> SparseBackbone:
    """Put a method beside a timm network that you already have; its weights are used as they are.

    Args:
        network: A timm VisionTransformer, Eva, SwinTransformer (V1 or V2) or ConvNeXt, or an LVViT.
        rho: Base keep ratio in (0, 1], 0.7 by default. At 1 `geometric`, `linear` and `constant`
            keep everything; `arithmetic`, the hierarchical networks', keeps 1, 0.8, 0.6.
        ratios: Explicit keep ratios, one for each location, instead of rho and schedule.
        locations: Blocks before (in a hierarchical network's third stage: in) which decisions are
            taken; by default the papers': after each quarter, or early in the third stage.
        schedule: Name in `conf/schedule`, by default the papers' for such a network; or a
            `KeepSchedule`, which has ratios and locations already.
        method: Name in `conf/method`, or a `Method` class; by default the papers' for such a
            network.
        **options: The method's own, as `r=13` of ToMe.

    Raises:
        InputError: One sentence on what does not fit.
    """
    family = family_of(network)
    if not isinstance(schedule, KeepSchedule):
        name = _schedule_name(rho, ratios, schedule) or family.natural_schedule
        if locations is None:
            count = 3 if ratios is None else len(_listed("ratios", ratios, _RATIOS))
            locations = family.natural_locations(family.geometry(network).depth, count)
        schedule = _schedule(name, rho, ratios, locations)
    elif (rho, ratios, locations) != (None, None, None):
        raise InputError(
            f"schedule={schedule} has ratios and locations: leave out rho, ratios and locations."
        )
    return attach(network, _method(method or family.natural_method, options), schedule)


def create_student(
    name: str,
    *,
    rho: float | None = None,
    ratios: Sequence[float] | None = None,
    locations: Sequence[int] | None = None,
    schedule: str | KeepSchedule | None = None,
    method: str | type[Method] | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
    pretrained: bool = False,
    weights: str | Path | None = None,
    **options: Any,
) -> SparseBackbone:
    """Create a student by the name of its yaml in `conf/backbone`.

    Args:
        name: As `"deit_s"`.
        rho: As `sparsify`.
        ratios: As `sparsify`.
        locations: As `sparsify`; the backbone's own by default.
        schedule: As `sparsify`.
        method: As `sparsify`.
        num_classes: Outputs; the network's own number by default.
        image_size: Side of the input in pixels; the network's own by default.
        pretrained: Download timm's weights of the dense network.
        weights: A file for `load_weights`.
        **options: The method's own, as `r=13` of ToMe.

    Raises:
        InputError: One sentence on what does not fit.
    """
    backbone = option("backbone", name)["backbone"]
    backbone |= {"pretrained": pretrained, "weights": weights}
    if image_size is not None:
        backbone["image_size"] = image_size
    plan: dict[str, Any] = {"rho": rho, "ratios": ratios, "schedule": schedule}
    plan["locations"] = backbone["locations"] if locations is None else locations
    if isinstance(schedule, KeepSchedule) and locations is None:
        plan["locations"] = None
    for group, chosen in (("schedule", schedule), ("method", method)):
        if isinstance(chosen, str):
            option(group, chosen)  # a wrong name is refused before anything is built
    sparsified = partial(sparsify, method=method, **plan, **options)
    return _with_weights(backbone, sparsified, num_classes or own_classes(backbone["network"]))


def build_student(
    backbone: Mapping[str, Any],
    method: MethodLike | None,
    schedule: Mapping[str, Any] | KeepSchedule,
    num_classes: int,
    any_size: bool = False,
    checkpoint: Checkpoint | None = None,
) -> SparseBackbone:
    """Build a student with the weights that `backbone` asks for and a head for `num_classes`.

    A file for another number of classes is loaded whole; then its head is replaced by a new one,
    or dropped where `num_classes` is 0.

    Args:
        backbone: As in `conf/backbone`.
        method: As `attach` takes it.
        schedule: As `attach` takes it.
        num_classes: Outputs; 0 for no classifier.
        any_size: Make the network for images of any size.
        checkpoint: The file `backbone["weights"]`, if it has been read already.

    Raises:
        InputError: One sentence on what does not fit.
    """
    sparsified = partial(attach, method=method, schedule=schedule)
    return _with_weights(backbone, sparsified, num_classes, any_size, checkpoint)


def _with_weights(
    backbone: Mapping[str, Any],
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
    if stored and stored != num_classes > 0:
        log.warning(f"{file} is for {stored} classes: the head for {num_classes} is new.")
    return student


def attach(
    network: nn.Module,
    method: MethodLike | None,
    schedule: Mapping[str, Any] | KeepSchedule,
) -> SparseBackbone:
    """Put a method beside `network`, on its device and in its precision.

    Warns of a schedule that drops something at rho=1, and of pixels that no patch covers.

    Args:
        network: A timm network of a known family.
        method: Settings as in `conf/method`, or what makes a method of `schedule` and `geometry`;
            None for the papers' choice.
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
    student = family(network, _placed(made, network))
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


def _method(method: str | type[Method], options: Mapping[str, Any]) -> Callable[..., Method]:
    """What makes a method of a schedule and a geometry, under its own options."""
    settings = option("method", method) if isinstance(method, str) else None
    kind = method if settings is None else locate(settings)
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise InputError(f"method={method!r} is neither a name in conf/method nor a Method class.")
    known = [name for name in inspect.signature(kind).parameters if name not in _GIVEN]
    for name, value in options.items():
        if name not in known:
            called = method if isinstance(method, str) else kind.__name__
            raise InputError(
                f"{name}={value!r} is no option of the method {called}, which has "
                f"{', '.join(known) or 'none'}."
            )
    return (
        partial(kind, **options)
        if settings is None
        else partial(instantiate, {**settings, **options})
    )


def _schedule_name(
    rho: float | None, ratios: Sequence[float] | None, schedule: str | None
) -> str | None:
    """The schedule that these arguments choose, None for the network's own."""
    if ratios is None:
        return schedule
    if rho is not None:
        raise InputError(
            f"rho={rho!r} and ratios={ratios!r} both say how many tokens stay: give one of them."
        )
    if schedule not in (None, "explicit"):
        raise InputError(
            f"schedule={schedule!r} and ratios={ratios!r} both say how many tokens stay: leave the "
            "schedule out, or give rho instead of ratios."
        )
    return "explicit"


def _schedule(
    name: str,
    rho: float | None,
    ratios: Sequence[float] | None,
    locations: Sequence[int],
) -> KeepSchedule:
    settings = option("schedule", name)
    if ratios is not None:
        given: dict[str, Any] = {"ratios": _listed("ratios", ratios, _RATIOS)}
    elif "rho" in settings:
        given = {"rho": 0.7 if rho is None else rho}
    else:
        raise InputError(f"schedule='explicit' has no ratios: give them, as ratios={_RATIOS}.")
    given["locations"] = _listed("locations", locations, "(3, 6, 9)")
    made: KeepSchedule = instantiate(settings | given)
    return made


def _listed(name: str, values: Any, example: str) -> list[Any]:
    if not isinstance(values, Iterable) or isinstance(values, str):
        raise InputError(f"{name}={values!r} must be a list of numbers, as {example}.")
    return list(values)
