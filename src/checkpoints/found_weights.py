"""Finds the weights of one network in a file, however they were wrapped and saved."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ..errors import InputError
from .plain_values import UnreadTensor

# Under these keys trainers keep a network's weights, best first.
_CONTAINERS = ("state_dict", "model", "module")
# With these begin the names of a vision network's weights; a network has some of each.
_TRUNKS = {"blocks", "layers", "stages", "downsample_layers"}
_OTHERS = {
    *("patch_embed", "pos_embed", "cls_token", "dist_token", "reg_token", "pos_drop", "stem"),
    *("norm", "fc_norm", "norm_pre", "head", "head_dist", "aux_head", "score_predictor"),
}
# A tensor in a file: its values, or why they were not read.
StoredTensor = Tensor | UnreadTensor
_ENOUGH = 0.9  # share of the largest network's names that another one needs to be its equal


class _Place(NamedTuple):
    """Says where a network is in a file: keys of its mapping, and the prefix of its names."""

    keys: tuple[str, ...]
    prefix: str

    def __str__(self) -> str:
        return ".".join((*self.keys, self.prefix.rstrip("."))).strip(".") or "its top level"

    @property
    def rank(self) -> tuple[int, ...]:
        """Rank averages first, as timm does, then a student, and a teacher last."""
        words = set(re.split(r"[._]", f"{'.'.join(self.keys)}.{self.prefix}".lower()))
        kinds = ({"ema", "averaged"}, {"student"})
        kind = next((number for number, kind in enumerate(kinds) if words & kind), 2)
        kind = 3 if words & {"teacher", "target", "momentum", "current"} and kind == 2 else kind
        known = [_CONTAINERS.index(key) for key in self.keys if key in _CONTAINERS]
        return kind, *(known or [len(_CONTAINERS)]), len(self.prefix)


@dataclass(frozen=True)
class FoundWeights:
    """Holds the weights of one network in a file.

    Attributes:
        network: By the network's names, as timm has them or its authors.
        method: By the names below `method`, if the file is a student's.
        all: Every tensor that lies beside these too, by its name in the file; read or not.
        notes: Where they were and what was left there, as parts of a sentence.
        outer: Prefix of the names of what contains the student; None without one.
    """

    network: dict[str, Tensor]
    method: dict[str, Tensor]
    all: dict[str, StoredTensor]
    notes: list[str]
    outer: str | None


def find_weights(
    content: Mapping[str, object], path: str | Path, own: frozenset[str] = frozenset()
) -> FoundWeights:
    """Find one network's weights in a file, without what trainers wrap around them and names.

    Of several networks the averaged one is taken, as timm does, else the student, and the others
    are left out: two are never mixed.

    Args:
        content: What `read_file` gives.
        path: The file, for the sentences.
        own: First parts of names, beside the common ones, that the network in question has.

    Raises:
        InputError: If there are none, or one has no plain values.
    """
    mappings = {keys: inner for keys, inner in _mappings(content) if _tensors(inner)}
    if not mappings:
        raise InputError(f"{path} holds no weights: give a state_dict or a checkpoint with one.")
    counts = {
        _Place(keys, prefix): count
        for keys, inner in mappings.items()
        for prefix, count in _networks(inner, own).items()
    }
    most = max(counts.values(), default=0)
    rivals = sorted((p for p, n in counts.items() if n >= _ENOUGH * most), key=lambda p: p.rank)
    place = rivals[0] if rivals else _Place(_fallback(mappings), "")
    tensors = _tensors(mappings[place.keys])
    inner = [
        other.prefix
        for other in counts
        if other.keys == place.keys and len(other.prefix) > len(place.prefix)
    ]
    own_tensors = {
        key.removeprefix(place.prefix): value
        for key, value in tensors.items()
        if key.startswith(place.prefix) and not key.startswith(tuple(inner))
    }
    network = read_tensors(own_tensors, path)
    method = read_tensors(_method(tensors, place.prefix), path)
    before, student, _ = place.prefix.rpartition("student.")
    outer = before if student else None
    head = [key for key in tensors if outer is not None and key.startswith(f"{outer}head.")]
    left_out = len(tensors) - len(network) - len(method) - len(head)
    notes = [f"taken from {place} there"] if place.keys or place.prefix or rivals[1:] else []
    notes += [f"{other} is passed over" for other in rivals[1:]]
    notes += [f"{left_out} other tensors are left out"] if left_out and not rivals[1:] else []
    notes += [f"{len(head)} tensors beside them are the head's of its task"] if head else []
    return FoundWeights(network, method, tensors, notes, outer)


def _mappings(
    content: Mapping[str, object], keys: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Mapping[str, object]]]:
    """Find the mappings in a file, down to the third level, with the keys that lead there."""
    yield keys, content
    for key, value in content.items():
        if isinstance(key, str) and isinstance(value, Mapping) and len(keys) < 2:
            yield from _mappings(value, (*keys, key))


def _tensors(content: Mapping[str, object]) -> dict[str, StoredTensor]:
    return {
        key: value
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, (Tensor, UnreadTensor))
    }


def _networks(content: Mapping[str, object], own: frozenset[str]) -> dict[str, int]:
    """Count the tensors of each network, by the prefix of its names."""
    counts: dict[str, int] = defaultdict(int)
    kinds: dict[str, set[bool]] = defaultdict(set)
    for key in _tensors(content):
        parts = key.split(".")[:8]
        for number, part in enumerate(parts):
            if part in _TRUNKS or part in _OTHERS or part in own:
                prefix = ".".join(parts[:number]) + "." * bool(number)
                counts[prefix] += 1
                kinds[prefix].add(part in _TRUNKS)
                break  # what follows is inside of this network
    return {
        prefix: count
        for prefix, count in counts.items()
        if len(kinds[prefix]) == 2 or (own and not prefix)
    }


def _fallback(mappings: Mapping[tuple[str, ...], Mapping[str, object]]) -> tuple[str, ...]:
    """Return the keys of the mapping with weights of unknown names: a known one or the largest."""
    known = [(key,) for key in _CONTAINERS if (key,) in mappings]
    return known[0] if known else max(mappings, key=lambda keys: len(_tensors(mappings[keys])))


def _method(tensors: Mapping[str, StoredTensor], prefix: str) -> dict[str, StoredTensor]:
    """Return the method's weights beside the network whose names begin with `prefix`."""
    parts = prefix.split(".")
    if "backbone" not in parts:
        return {}
    start = ".".join([*parts[: parts.index("backbone")], "method."])
    return {k.removeprefix(start): value for k, value in tensors.items() if k.startswith(start)}


def read_tensors(tensors: Mapping[str, StoredTensor], path: str | Path) -> dict[str, Tensor]:
    """Return tensors, of which each must have been read.

    Raises:
        InputError: If one was not, as larger than the file or without plain values.
    """
    read: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if isinstance(value, UnreadTensor):
            raise InputError(
                f"{path} is refused because it holds {name} {value.reason}: give the dense weights."
            )
        read[name] = value
    return read
