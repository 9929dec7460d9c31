"""Looks into one image: what a student keeps of it, what it says, what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..datamodules.decoding import decode_rgb, open_image, reason
from ..datamodules.normalization import Normalization
from ..errors import InputError
from ..measure.throughput import compare_speed
from ..modules.backbones.base import SparseOutput
from ..pictures.tokens import seen, survivors
from .subjects import Subject

_SHOWN = 5  # classes
_TURNS, _TURN_S = 5, 0.03


@dataclass(frozen=True)
class Left:
    """Says how many patches, or tokens that stand for them, a location leaves of all.

    `picture (3, S, S)` in 0..1 shows which.
    """

    location: int
    count: int
    patches: int
    picture: Tensor


@dataclass(frozen=True)
class Guess:
    """Holds the probability of one class, of the student and of the dense network."""

    name: str
    sparse: float
    dense: float


@dataclass(frozen=True)
class Finding:
    """Holds what is known of one image.

    Attributes:
        image: What the network sees of it, `(3, S, S)` in 0..1.
        left: One for each location.
        guesses: The five classes that either network thinks likeliest, likeliest for the student
            first.
        gmacs: Of student and dense network, for one image.
        milliseconds: Of student and dense network for one image, medians over the same turns.
        notes: Sentences on what these settings do not do.
    """

    image: Tensor
    left: tuple[Left, ...]
    guesses: tuple[Guess, ...]
    gmacs: tuple[float, float]
    milliseconds: tuple[float, float]
    notes: tuple[str, ...]


def read_image(path: str | Path | None) -> Image.Image:
    """Decode an image file, upright.

    Raises:
        InputError: If there is none, or it cannot be read.
    """
    if path is None:
        raise InputError("There is no image yet: drop one, or pick an example.")
    try:
        with open_image(path) as image:
            return decode_rgb(image, upright=True)
    except Exception as error:  # whatever a decoder raises
        raise InputError(
            f"{Path(path).name} cannot be read as an image: {reason(error)}."
        ) from error


def look(subject: Subject, image: Image.Image, rho: float, method: str) -> Finding:
    """Run the student of a method at `rho` and the dense network on one RGB image.

    Raises:
        InputError: If the method does not suit the network, or `rho` the schedule.
    """
    student, notes = subject.student(method), []
    if ignored := student.method.ignores_rho:
        notes.append(f"The keep ratio changes nothing here: {ignored}.")
    elif student.rho is None:
        notes.append("The keep ratio changes nothing here: this file lists its ratios.")
    else:
        student.rho = rho
    if subject.is_untrained(method):
        notes.append("This method learns what to keep and is not trained here: it keeps anything.")
    ready = student.preprocessing
    images = ready.transform()(image)[None]
    with torch.inference_mode():
        output: SparseOutput = student(images)
        dense = student.backbone(images)
    normalization, images = Normalization(ready.mean, ready.std), seen(images, output)
    pictures = survivors(images, output, normalization)
    speed = compare_speed({"sparse": student, "dense": student.backbone}, [images], _TURNS, _TURN_S)
    sparse_ms, dense_ms = (1000 / speed[name].images_per_s for name in ("sparse", "dense"))
    return Finding(
        image=normalization.undo(images)[0],
        left=tuple(
            Left(step.location, int(step.count[0]), step.keep.shape[1], picture[0])
            for step, picture in zip(output.steps, pictures, strict=True)
        ),
        guesses=_guesses(output.logits[0], dense[0], subject.class_names),
        gmacs=(student.gmacs(), subject.dense_gmacs),
        milliseconds=(sparse_ms, dense_ms),
        notes=tuple(notes),
    )


def _guesses(sparse: Tensor, dense: Tensor, names: tuple[str, ...]) -> tuple[Guess, ...]:
    """Return the classes of the highest probabilities, from logits `(classes,)` of both."""
    one, other = sparse.float().softmax(0), dense.float().softmax(0)
    best = one.maximum(other).topk(min(_SHOWN, len(one))).indices.tolist()
    best.sort(key=lambda output: -one[output])
    return tuple(Guess(names[i], float(one[i]), float(other[i])) for i in best)
