"""Matches the classes of a checkpoint, by their names, with those of the data."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from ..checkpoints.checkpoint import RUN, Checkpoint
from ..datamodules.base import ImageDataModule
from ..datamodules.walking import natural_key
from ..errors import InputError, some, spelled

log = logging.getLogger(__name__)


def match_classes(data: ImageDataModule, checkpoint: Checkpoint) -> None:
    """Let a data module label its images by the outputs of the network in a file.

    By the names of the classes where both know them, else by their number.

    Args:
        data: The data module, checked.
        checkpoint: A checkpoint or bare weights.

    Raises:
        InputError: If the data has classes that the network has not, or another number.
    """
    path, stored, known = checkpoint.path, checkpoint.class_names, data.class_names
    if stored is not None and known is not None:
        present = range(len(known)) if data.present_classes is None else data.present_classes
        _check_known([known[output] for output in present], stored, path)
        if tuple(known) != stored:
            data.adopt_classes(stored)
            log.info(f"Labels are the outputs of {path}, matched by the names of the classes.")
        return
    count = checkpoint.num_classes
    if count and count != data.num_classes:
        occurring = len(data.present_classes or ())
        own = (
            f", or give datamodule.num_classes={count} if its outputs are the {count} class "
            "folders in the order of their names"
        )
        raise InputError(
            f"{path} is for {count} classes, but the data has {data.num_classes}: evaluate on the "
            f"data that it was trained for{own if occurring == count else ''}."
        )
    if known is not None and (count or RUN in checkpoint.content):
        _warn_of_text_order(path, known)


def check_same_classes(data: ImageDataModule, checkpoint: Checkpoint) -> None:
    """Check that a resumed training has the classes that it started with.

    Raises:
        InputError: If a checkpoint names other ones, or in another order.
    """
    path, stored = checkpoint.path, checkpoint.class_names
    if stored is None or data.class_names is None or stored == tuple(data.class_names):
        return
    raise InputError(
        f"ckpt_path={path} was trained for {_differing(stored, data.class_names)}: resume on the "
        "data that it was trained on, or start from its weights with backbone.weights."
    )


def warn_of_other_classes(data: ImageDataModule, checkpoint: Checkpoint) -> None:
    """Warn if a training starts from a head that was trained for other classes."""
    path, stored = checkpoint.path, checkpoint.class_names
    known = data.class_names
    if known and not stored and checkpoint.num_classes == len(known):
        _warn_of_text_order(path, known)
    if stored and known and len(stored) == len(known) and stored != tuple(known):
        log.warning(
            f"backbone.weights={path} has a head for {_differing(stored, known)}: it is trained on "
            "from where it stands."
        )


def _warn_of_text_order(path: Path, known: Sequence[str]) -> None:
    """Warn if folders sorted as text, as torchvision's are, have another order than these."""
    if list(known) == sorted(known, key=natural_key) != sorted(known):
        log.warning(
            f"{path} does not name its classes: if it was trained on class folders sorted as text, "
            f"its outputs are not those of {some(known)}, so train it anew or compare accuracies."
        )


def _check_known(names: Sequence[str], stored: Sequence[str], path: Path) -> None:
    unknown = [name for name in names if name not in set(stored)]
    if not unknown:
        return
    close = get_close_matches(unknown[0].lower(), [name.lower() for name in stored], n=1)
    alike = [name for name in stored if close and name.lower() == close[0]]
    hint = f", did you mean {alike[0]}?" if alike else ""
    verb = "is" if len(unknown) == 1 else "are"
    differ = f"it is for {len(stored)} classes, but the data has {len(names)}, so "
    raise InputError(
        f"{some([*map(spelled, unknown)])} {verb} not among the {len(stored)} classes of {path} "
        f"({some(stored)}{hint}): {differ if len(names) != len(stored) else ''}evaluate on classes "
        "that it was trained for."
    )


def _differing(stored: Sequence[str], known: Sequence[str]) -> str:
    """Describe where two lists of classes differ first."""
    if len(stored) != len(known):
        return f"{len(stored)} classes ({some(stored)}), and the data has {len(known)}"
    output = next(i for i, (one, two) in enumerate(zip(stored, known, strict=True)) if one != two)
    return (
        f"other classes, as {stored[output]} at output {output} where the data has {known[output]}"
    )
