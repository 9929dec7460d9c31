"""Describes a student as plain values, which are all that is needed to build it again."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

import timm
import torch
from torch import nn

from ... import __version__
from ...config import CONF, locate, option
from ...errors import InputError, one_sentence
from ...measure.complexity import input_channels
from ..schedules import KeepSchedule

if TYPE_CHECKING:
    from ..backbones.base import SparseBackbone
    from ..heads.base import Head
    from ..methods.base import Method

VERSION = 1  # the version of the format; readers refuse others
FORMAT = {"name": "tokenthrift student", "version": VERSION}
Plain = dict[str, object]


def describe(
    student: SparseBackbone, head: Head | None, network_options: Mapping[str, object] | None
) -> dict[str, object]:
    """Return the description of `student` in a file, by key; all of it can be written as JSON.

    Raises:
        InputError: If method, head or network could not be built again from a description.
    """
    described: dict[str, object] = {
        "format": FORMAT,
        "network": network_of(student, network_options),
        "method": {"name": student.method.name, "settings": _method_of(student)},
        "schedule": schedule_of(student.method.schedule),
        "task": _task_of(student, head),
        "class_names": student.class_names and list(student.class_names),
        "preprocessing": student.preprocessing.as_dict(),
        "metrics": {k: float(v) for k, v in student.metrics.items() if math.isfinite(v)},
        "versions": {
            "tokenthrift": __version__,
            "torch": torch.__version__,
            "timm": timm.__version__,
        },
    }
    return described


def as_text(described: Mapping[str, object]) -> dict[str, str]:
    """Return each value as JSON, as the header of a file requires."""
    return {key: json.dumps(value, allow_nan=False) for key, value in described.items()}


def network_of(student: SparseBackbone, options: Mapping[str, object] | None) -> Plain:
    """Return timm's name of the network and the arguments that create it again.

    Raises:
        InputError: If timm would create another network from them.
    """
    network, config = student.backbone, student.pretrained_cfg
    name = ".".join(str(config[k]) for k in ("architecture", "tag") if config.get(k))
    made_with: Mapping[str, object] | None = getattr(network, "made_with", None)
    side, other = student.image_size
    size = {"img_size": side if side == other else [side, other]}
    if options is None and made_with is not None:  # the size may have been set since
        options = {**made_with, **size} if "img_size" in made_with else made_with
    elif config.get("fixed_input_size"):
        options = size | dict(options or {})
    found: Plain = {
        "name": name,
        "options": dict(options or {}),
        "num_classes": student.num_classes,
    }
    if not config.get("fixed_input_size"):  # timm takes no argument for it
        found["image_size"] = [side, other]
    try:
        json.dumps(found, allow_nan=False)
        same = _creates(found, network, student.input_sides())
    except Exception as error:  # whatever timm's constructors raise
        raise _another(name, f" ({one_sentence(str(error)).rstrip('.')})") from error
    if not same:
        raise _another(name)
    return found


def _another(name: str, reason: str = "") -> InputError:
    return InputError(
        f"The network cannot be saved, for timm creates another one by the name {name}{reason}: "
        "give network_options with the arguments of timm.create_model that made it, as "
        "network_options={'embed_dim': 256}."
    )


def _creates(found: Plain, network: nn.Module, sides: tuple[int, ...]) -> bool:
    """Return whether timm creates a network that computes the same as `network`."""
    options = found["options"]
    assert isinstance(options, dict)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        again = timm.create_model(str(found["name"]), num_classes=found["num_classes"], **options)
        own = copy.deepcopy(network).cpu().float().eval()
        dtype = next(p.dtype for p in network.parameters() if p.is_floating_point())
        again.to(dtype).float()  # rounds its computed buffers as those of `network` are
        again.load_state_dict(own.state_dict())
        images = torch.rand(1, input_channels(network), *sides)
        return torch.equal(own(images), again.eval()(images))


def _method_of(student: SparseBackbone) -> Plain:
    """Return settings that make the method as it is, with options that have been changed since."""
    method = student.method
    settings = {k: _now(method, k, value) for k, value in (method.settings or {}).items()}
    targets = list(_targets(settings))
    if not targets or not all(target.startswith("src.") for target in targets):
        raise InputError(
            f"The method {method.name} cannot be saved, for its class is not part of tokenthrift: "
            "save student.state_dict() with torch.save and build the student by your own code."
        )
    try:
        json.dumps(settings, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The method {method.name} cannot be saved, for its options are not all numbers, "
            "texts and lists."
        ) from error
    return settings


def _now(method: Method, name: str, value: object) -> object:
    present = getattr(method, name, value)
    return present if isinstance(present, (int, float, str)) or present is None else value


def _targets(settings: Mapping[str, object]) -> Iterator[str]:
    """Yield the `_target_` of settings and of those inside them."""
    if "_target_" in settings:
        yield str(settings["_target_"])
    for value in settings.values():
        if isinstance(value, Mapping):
            yield from _targets(value)


def _task_of(student: SparseBackbone, head: Head | None) -> Plain:
    if head is None:
        return {"name": student.task, "head": None, "num_classes": student.num_classes}
    if head.settings is None:
        raise InputError(
            f"The head {type(head).__name__} cannot be saved, for it was not made by a task of "
            "tokenthrift, which remembers its settings."
        )
    return {"name": head.task, "head": head.settings, "num_classes": head.num_classes}


def rules() -> dict[str, object]:
    """Return the functions that `conf/schedule` names, by name."""
    targets = (locate(option("schedule", path.stem)) for path in (CONF / "schedule").glob("*.yaml"))
    return {target.__name__: target for target in targets}


def schedule_of(schedule: KeepSchedule) -> Plain:
    """Return a schedule as plain values; a rule that is not of `conf/schedule` is left out."""
    rule = schedule.rule
    options = dict(rule.keywords) if isinstance(rule, partial) else {}
    function = rule.func if isinstance(rule, partial) else rule
    name = next((name for name, known in rules().items() if known is function), None)
    return {
        "locations": list(schedule.locations),
        "ratios": list(schedule.ratios),
        "rho": schedule.rho if name else None,
        "rule": name,
        "options": options if name else {},
    }
