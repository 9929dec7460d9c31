"""Builds students from the files that `Described.save` writes, without trusting them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from ...checkpoints.reading import read_file
from ...config import instantiate, locate
from ...errors import InputError, one_sentence
from ...files import file_path
from ..backbones.base import SparseBackbone
from ..heads.base import Head, WholeNetwork
from ..methods.base import Method
from ..methods.disposals.base import Disposal
from ..methods.selectors.base import Selector
from ..networks.create import build_network
from ..schedules import KeepSchedule
from ..student import attach
from ..weights import check_keys
from .described import CLASSIFICATION
from .description import rules
from .hub import download, is_address
from .stored import Stored, number, read_stored, table, text

_PARTS = ("src.modules.methods.", "src.modules.heads.")
_DAMAGED = "the file is damaged."
_SLACK = 4096  # parameters that a network may make and replace while it is built
_BUFFERS = 2**26  # most elements that a network may compute beside those in the file
Made = TypeVar("Made")


def load(path: str | Path) -> SparseBackbone | WholeNetwork:
    """Build a saved student, on the CPU in eval mode; it computes what the saved one did.

    Nothing in the file is executed: it names parts of timm and of this package, with options that
    are numbers, texts and lists.

    Args:
        path: A file that `student.save` or a training wrote, or `hf-hub:user/name`.

    Returns:
        The student; with its head as a `WholeNetwork` where it was saved with one.

    Raises:
        InputError: One sentence on what the file lacks, or what in it does not fit.
    """
    file = download(str(path)) if is_address(path) else file_path(path)
    tensors = {k: v for k, v in read_file(file).items() if isinstance(v, Tensor)}
    stored = read_stored(file)
    with torch.random.fork_rng(devices=[]):
        with torch.device("meta"), _no_more_than(len(tensors), file):
            planned = _explained(stored, _built)
        _check_size(planned, tensors, file)
        made = _explained(stored, _built)
    check_keys(made.state_dict(), tensors, file, remedy=_DAMAGED)
    _fill(made, tensors)
    student = made.student if isinstance(made, WholeNetwork) else made
    student.class_names = stored.class_names
    if stored.head is None and stored.task != CLASSIFICATION:
        student.task = stored.task  # former files call all others a classification
    student.preprocessing = stored.preprocessing
    student.metrics = stored.metrics
    student.method_is_new = False
    return made.eval()


def _explained(stored: Stored, build: Callable[[Stored], Made]) -> Made:
    try:
        return build(stored)
    except InputError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{stored.path} cannot be built: {reason}") from error
    except Exception as error:  # whatever constructors raise on arguments that they do not expect
        reason = one_sentence(str(error) or type(error).__name__)
        raise InputError(f"{stored.path} cannot be built: {reason}") from error


def _built(stored: Stored) -> SparseBackbone | WholeNetwork:
    backbone = {
        "network": stored.network,
        "options": stored.options,
        "image_size": stored.image_size,
    }
    network = build_network(backbone, stored.num_classes, False)
    settings = _of_package(stored.method, (Method, Selector, Disposal))
    student = attach(network, settings, _schedule(stored))
    if stored.head is None:
        return student
    settings = _of_package(stored.head, (Head,))
    head: Head = instantiate(settings, levels=student.levels(), num_classes=stored.task_classes)
    head.settings, head.num_classes = stored.head, stored.task_classes
    return WholeNetwork(student, head)


def _of_package(settings: Mapping[str, object], kinds: tuple[type, ...]) -> dict[str, object]:
    """Return settings after a check that all their targets are classes of this package, of `kinds`.

    Raises:
        InputError: If one is not.
    """
    target = text(settings.get("_target_"), "_target_")
    kind = locate({"_target_": target}) if target.startswith(_PARTS) else None
    if not (isinstance(kind, type) and issubclass(kind, kinds)):
        raise InputError(f"{target[:80]!r} is not a part of tokenthrift that a file may name.")
    if any(isinstance(value, list) for value in settings.values()):
        raise InputError(f"{target} has a list among its settings, which no part takes.")
    return {
        key: _of_package(value, kinds) if isinstance(value, Mapping) else value
        for key, value in settings.items()
        if key != "_recursive_"
    }


def _schedule(stored: Stored) -> KeepSchedule:
    plan = stored.schedule
    locations, ratios = (tuple(_listed(plan.get(k), k)) for k in ("locations", "ratios"))
    listed = KeepSchedule(locations, ratios)  # type: ignore[arg-type]
    name, rho = plan.get("rule"), plan.get("rho")
    if name is None:
        return listed
    rule = rules().get(text(name, "rule"))
    if rule is None:
        raise InputError(f"schedule.rule={name!r} is not one of {', '.join(sorted(rules()))}.")
    options = table(plan.get("options"), "schedule.options")
    made: KeepSchedule = rule(number(rho, "rho"), listed.locations, **options)  # type: ignore[operator]
    if any(abs(a - b) > 1e-9 for a, b in zip(made.ratios, listed.ratios, strict=True)):
        raise InputError(
            f"schedule.ratios={list(listed.ratios)} do not follow from rho={rho} by the rule "
            f"{name}, which gives {list(made.ratios)}."
        )
    return made


def _listed(value: object, name: str) -> list[object]:
    if not isinstance(value, list):
        raise InputError(f"schedule.{name}={str(value)[:80]} must be a list of numbers.")
    return value


@contextmanager
def _no_more_than(tensors: int, path: Path) -> Iterator[None]:
    """Refuse, while it is built, a network with far more parameters than the file has tensors."""
    made = 0

    def count(*_: object) -> None:
        nonlocal made
        made += 1
        if made > 4 * tensors + _SLACK:
            raise InputError(f"{path} has {tensors} tensors, and its network would need many more.")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _check_size(planned: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Check that the file's tensors are those of `planned`, before memory is allocated for it.

    Raises:
        InputError: Naming what differs.
    """
    own = planned.state_dict()
    shapes = {key: value.shape for key, value in own.items()}
    if shapes != {key: value.shape for key, value in tensors.items()}:
        check_keys(own, tensors, path, "description of itself", _DAMAGED)
    computed = sum(b.numel() for name, b in planned.named_buffers() if name not in own)
    if computed > _BUFFERS:
        raise InputError(
            f"{path} describes a network that computes {computed:,} numbers beside its weights, "
            f"and up to {_BUFFERS:,} are accepted."
        )


def _fill(made: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load all tensors in the types that they are stored in."""
    floating = [value.dtype for value in tensors.values() if value.is_floating_point()]
    if floating:
        made.to(floating[0])
    for name, value in made.state_dict(keep_vars=True).items():
        value.data = value.data.to(tensors[name].dtype)
    made.load_state_dict(dict(tensors))
