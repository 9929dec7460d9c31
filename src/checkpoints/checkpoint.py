"""Reads a checkpoint once, as a value that every part of the program shares."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from ..errors import InputError
from ..files import file_path
from .found_weights import FoundWeights, find_weights, read_tensors
from .reading import read_file
from .resumable_state import progress_of

log = logging.getLogger(__name__)

CLASS_NAMES = "class_names"  # of a checkpoint: a list with one text for each output
PREPROCESSING = "preprocessing"  # of a checkpoint: plain values of a `Preprocessing`
RUN = "run"  # of a checkpoint: the configuration and choices that it was trained under
PROCESSES = "processes"  # of that record: how many trained it


@dataclass(frozen=True)
class Checkpoint:
    """Holds the content of a file of weights: our own `.ckpt`, a released one, or bare weights.

    Attributes:
        path: The file.
        content: Tensors and plain values; anybody may have written them.
    """

    path: Path
    content: Mapping[str, object] = field(repr=False)

    @classmethod
    def read(cls, path: str | Path) -> Checkpoint:
        """Read a file safely: no code in it is run, and no more memory is taken than its size.

        What a saved student's file says of its classes and its images is read as a checkpoint's is.

        Raises:
            InputError: See `read_file`.
        """
        place = file_path(path)
        return cls(place, read_file(place) | _said_in_header(place))

    def weights(self, own: frozenset[str] = frozenset()) -> FoundWeights:
        """Find the weights of one network in the file.

        Args:
            own: First parts of parameters' names, beside the common ones, that the network has.

        Raises:
            InputError: If there are none, or one has no plain values.
        """
        return find_weights(self.content, self.path, own)

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor that lies where the weights are, by its name in the file."""
        return {k: v for k, v in self.weights().all.items() if isinstance(v, Tensor)}

    @cached_property
    def num_classes(self) -> int | None:
        """Return the outputs of the classifier; None if the file has none of a known name."""
        weights = self.weights().network
        heads = [weights[name] for name in ("head.weight", "head.fc.weight") if name in weights]
        # Only one that has values in both dimensions bounds its classes by the size of its file.
        return next((len(head) for head in heads if head.ndim == 2 and head.numel()), None)

    @cached_property
    def head(self) -> dict[str, Tensor]:
        """Return the weights of the head beside a student, by the head's own names.

        Raises:
            InputError: If one has no plain values.
        """
        found = self.weights()
        if found.outer is None:
            return {}
        start = f"{found.outer}head."
        head = {k.removeprefix(start): v for k, v in found.all.items() if k.startswith(start)}
        return read_tensors(head, self.path)

    @cached_property
    def class_names(self) -> tuple[str, ...] | None:
        """Return the name of each output's class; None where the file has none.

        Raises:
            InputError: If they are no list of different texts.
        """
        names = self.content.get(CLASS_NAMES)
        if names is None:
            return None
        listed = names if isinstance(names, (list, tuple)) else ()
        texts = tuple(name for name in listed if isinstance(name, str))
        if not texts or len(set(texts)) < len(listed):
            raise InputError(
                f"{self.path} holds {CLASS_NAMES} that are no list of different texts: it is "
                "damaged."
            )
        return texts

    @property
    def progress(self) -> tuple[int, int]:
        """Return optimizer steps and epochs of its training; -1 where the file does not say."""
        return progress_of(self.content)

    def hand_over(self) -> None:
        """Keep this value for the job that the command line starts in this process."""
        _handed_over[self.path.resolve()] = _state(self.path), self


def _said_in_header(path: Path) -> dict[str, object]:
    """Return classes and preprocessing as the header of a `.safetensors` file has them."""
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, "pt") as file:  # read before, and so undamaged
        header: dict[str, str] = file.metadata() or {}
    said: dict[str, object] = {}
    for key in (CLASS_NAMES, PREPROCESSING):
        with suppress(ValueError, RecursionError):  # not json, so that another program wrote it
            said[key] = json.loads(header.get(key, "null"))
    return {key: value for key, value in said.items() if value is not None}


_handed_over: dict[Path, tuple[tuple[int, int], Checkpoint]] = {}


def _state(path: Path) -> tuple[int, int]:
    """Return time and size of a file, which change when it is written anew."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def taken(path: str | Path) -> Checkpoint:
    """Return what was handed over for this file, which is then no longer kept, or read the file.

    A file that has been written anew since is read.

    Raises:
        InputError: See `read_file`.
    """
    place = file_path(path)
    kept = _handed_over.pop(place.resolve(), None)
    if kept and place.is_file() and kept[0] == _state(place):
        return kept[1]
    return Checkpoint.read(place)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Find the undamaged checkpoint in `folder` that has trained longest; None without any.

    Files' times decide between equals only: copies and clocks change them.
    """
    best: tuple[tuple[int, int, int], Checkpoint] | None = None
    for path in sorted(folder.glob("*.ckpt")):
        try:
            checkpoint = taken(path)
            progress = *checkpoint.progress, path.stat().st_mtime_ns
        except (InputError, OSError) as error:
            log.warning(f"{str(error).removesuffix('.')}: another one is looked for.")
            continue
        if best is None or progress > best[0]:
            best = progress, checkpoint
    return best and best[1]
