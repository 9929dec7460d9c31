"""Refuses networks with parts of somebody's own whose work a student would leave out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...measure.complexity import input_channels
from ...measure.evaluating import evaluating
from .base import SparseBackbone

log = logging.getLogger(__name__)

_LIBRARIES = {"timm", "torch", "torchvision", __name__.partition(".")[0]}
_REPLACED = ("forward", "forward_features")  # of a network, by the student's own loop


def check_own_parts(student: SparseBackbone) -> None:
    """Check that `student` runs what was put into its network instead of timm's modules.

    A student takes the place of the network's loop, its blocks and attentions, and calls their
    layers. Parts with a forward of their own are looked for; only where there are some, network and
    student run once on a blank image. Hooks that will not be called are warned of.

    Raises:
        InputError: If a part with a forward of its own would be left out.
    """
    network = student.backbone
    known = type(network) in student.networks
    if any(name in vars(network) or (not known and _is_own(network, name)) for name in _REPLACED):
        raise InputError(
            f"{type(network).__name__} has a forward of its own, which a student would not run: "
            "give timm's network itself, or write a family for yours (docs/networks.md)."
        )
    parts = [(name, part) for name, part in network.named_modules() if name]
    own = {name: part for name, part in parts if _is_own(part, "forward")}
    hooked = {name: part for name, part in parts if part._forward_hooks or part._forward_pre_hooks}
    if not own and not hooked:
        return
    left_out = _left_out(student, own | hooked)
    if unused := [name for name in own if name in left_out]:
        name = unused[0]
        raise InputError(
            f"{name} ({type(own[name]).__name__}) has a forward of its own, which a student would "
            "not run, for it takes the place of blocks and attentions and calls their layers: "
            "put your part in place of a layer (qkv, proj, mlp), or restore timm's."
        )
    if unheard := [name for name in hooked if name in left_out]:
        log.warning(
            f"Hooks on {', '.join(unheard[:3])}{', ...' * (len(unheard) > 3)} will not be called, "
            "for a student takes the place of blocks and attentions: put them on their layers, as "
            "norm1 or mlp."
        )


def _is_own(part: nn.Module, name: str) -> bool:
    """Tell whether the method `name` of `part` is of none of the libraries."""
    method = getattr(type(part), name, None)
    module = getattr(method, "__module__", None) or ""
    return name in vars(part) or module.partition(".")[0] not in _LIBRARIES


def _left_out(student: SparseBackbone, parts: Mapping[str, nn.Module]) -> set[str]:
    """Return the names of those `parts` that the network calls and `student` does not."""
    weight = next(p for p in student.backbone.parameters() if p.is_floating_point())
    shape = (1, input_channels(student.backbone), *student.input_sides())
    image = torch.zeros(shape, device=weight.device, dtype=weight.dtype)
    quiet = _without_hooks(parts.values())
    with quiet, evaluating(student), torch.no_grad(), torch.random.fork_rng(devices=[]):
        return _called(student.backbone, parts, image) - _called(student, parts, image)


@contextmanager
def _without_hooks(parts: Iterable[nn.Module]) -> Iterator[None]:
    """Take hooks on outputs off for a while: they may keep what they see."""
    taken = [(part, part._forward_hooks) for part in parts]
    try:
        for part, hooks in taken:
            part._forward_hooks = type(hooks)()
        yield
    finally:
        for part, hooks in taken:
            part._forward_hooks = hooks


def _called(network: nn.Module, parts: Mapping[str, nn.Module], image: Tensor) -> set[str]:
    called: set[str] = set()

    def note(name: str, *_: object) -> None:
        called.add(name)

    hooks = [
        part.register_forward_pre_hook(partial(note, name), prepend=True)
        for name, part in parts.items()
    ]
    try:
        network(image)
    finally:
        for hook in hooks:
            hook.remove()
    return called
