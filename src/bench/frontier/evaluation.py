"""Predicts the validation images by each student, and stores the predictions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import IterableDataset, Subset

from ...config import Settings
from ...datamodules.base import ImageDataModule
from ...datamodules.loading import Loaders
from ...datamodules.normalization import Normalization
from ...datamodules.spread import spread_evenly
from ...errors import InputError, some
from ...files import atomic_file
from ...modules.backbones.base import SparseBackbone
from ...reports.compare import Comparison
from ...reports.rows import read_json
from ...shell.program import sentences_of
from .plan import Cell

PREDICTIONS = "predictions.json"


@dataclass(frozen=True)
class Images:
    """Holds validation images `(N, 3, S, S)` and their labels `(N,)`, on the CPU.

    `class_names` are those of the labels, None where the data does not know them; `normalization`
    is that of the images, None where nobody has said it.
    """

    pixels: Tensor
    labels: Tensor
    class_names: tuple[str, ...] | None = None
    normalization: Normalization | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def digest(self) -> str:
        """Return what tells these images and labels from others."""
        known = hashlib.blake2b(digest_size=16)
        for values in (self.pixels, self.labels):
            known.update(values.contiguous().view(torch.uint8).numpy().tobytes())
        return known.hexdigest()

    def check(self, student: SparseBackbone) -> None:
        """Check that a student's outputs are these labels, and that it takes such images.

        Raises:
            InputError: If it names other classes, or the same in another order, or expects another
                normalization.
        """
        own, known = student.class_names, self.class_names
        if own and known and tuple(own) != tuple(known):
            raise InputError(
                f"Its classes are {some(own)} in this order, and the data's are {some(known)}: "
                "give a student that was trained for the same classes."
            )
        ready = student.preprocessing
        expected = Normalization(ready.mean, ready.std)
        if self.normalization not in (None, expected):
            raise InputError(
                f"It expects images normalized by mean {[*ready.mean]} and deviation "
                f"{[*ready.std]}, and the dense network others: compare students of this network."
            )

    def batches(self, size: int, most: int, device: torch.device) -> list[Tensor]:
        """Return at most `most` batches of `size` images on `device`, or one of all if fewer."""
        batches = self.pixels[: most * size].split(size)
        return [batch.to(device) for batch in batches if len(batch) == len(batches[0])]


def load_images(data: ImageDataModule, most: int, dtype: torch.dtype) -> Images:
    """Load at most `most` validation images, spread evenly; from a stream the first ones.

    Raises:
        InputError: If there are none.
    """
    data.setup("test")
    dataset: Any = data.val_dataset()
    loaders = Loaders(data.batch_size, data.num_workers, data.seed)
    if isinstance(dataset, IterableDataset):
        batches = islice(loaders.shared(dataset), -(-most // data.batch_size))
    else:
        numbers = spread_evenly(len(dataset), most)
        batches = islice(loaders.shared(Subset(dataset, numbers)), None)
    loaded = [(images.to(dtype), labels) for images, labels in batches]
    if not loaded:
        raise InputError("There are no validation images to compare on.")
    pixels, labels = (torch.cat(parts)[:most] for parts in zip(*loaded, strict=True))
    return Images(pixels, labels, data.class_names, data.normalization)


@torch.inference_mode()
def predict(network: nn.Module, images: Images, batch: int, device: torch.device) -> list[int]:
    """Return the class of the largest logit of each image."""
    classes: list[int] = []
    for pixels in images.pixels.split(batch):
        classes += network(pixels.to(device)).logits.argmax(1).tolist()
    return classes


def kept_predictions(folder: Path, settings: Settings) -> list[int] | None:
    """Return the predictions stored in `folder`, if they were made under the same settings."""
    kept = read_json(folder / PREDICTIONS)
    same = isinstance(kept, dict) and kept.get("settings") == json.loads(json.dumps(settings))
    return kept["predictions"] if isinstance(kept, dict) and same else None


def keep_predictions(folder: Path, settings: Settings, predictions: list[int]) -> None:
    """Store the predictions in `folder` for later comparisons."""
    with atomic_file(folder / PREDICTIONS) as partial:
        partial.write_text(json.dumps({"settings": settings, "predictions": predictions}) + "\n")


@dataclass
class Evaluated:
    """Holds the students that can be compared, what they predict, and why others cannot be."""

    students: dict[str, SparseBackbone] = field(default_factory=dict)
    predictions: dict[str, list[int]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def evaluate_cells(
    cells: Sequence[Cell],
    images: Images,
    batch: int,
    place: tuple[torch.device, torch.dtype],
    folder: Path,
    common: Settings,
) -> Evaluated:
    """Predict the images by each student whose predictions are not stored yet.

    Args:
        cells: The students, the dense network first.
        images: The validation images.
        batch: Images of a batch.
        place: Device and precision of the students.
        folder: Has a folder with predictions for each cell.
        common: What the predictions of all cells depend on.
    """
    found = Evaluated()
    outputs = None
    for cell in track(cells, description="Evaluating", transient=True):
        try:
            student = cell.make().to(*place).eval()
            images.check(student)
            counts = {_outputs(student, images, size, place[0]) for size in (1, batch)}
            if outputs is not None and counts != {outputs}:
                raise InputError(
                    f"It has {max(counts)} classes and the dense network {outputs}: give a student "
                    "for the same classes."
                )
            settings = common | cell.settings | {"images": images.digest}
            kept = folder / cell.name
            predictions = kept_predictions(kept, settings)
            if predictions is None:
                predictions = predict(student, images, batch, place[0])
                keep_predictions(kept, settings, predictions)
        except Exception as error:
            if outputs is None:  # nothing can be compared without the dense network
                raise
            found.failures[cell.name] = sentence_of(error)
            continue
        outputs = min(counts)
        found.students[cell.name], found.predictions[cell.name] = student, predictions
    return found


def sentence_of(error: Exception) -> str:
    """Return one sentence on what an error says."""
    first = f"{type(error).__name__}: {error}".partition("\n")[0]
    return " ".join(sentences_of(error)) or first


@torch.inference_mode()
def _outputs(network: nn.Module, images: Images, size: int, device: torch.device) -> int:
    """Return the number of classes, from a batch of a size that will be timed, which may fail."""
    logits: Tensor = network(images.pixels[:size].to(device)).logits
    return logits.shape[1]


def compare_predictions(a: list[int], b: list[int], labels: list[int]) -> Comparison:
    """Count the images that both, one or none of two networks got right."""
    rights = [(x == label, y == label) for x, y, label in zip(a, b, labels, strict=True)]
    return Comparison(
        rights.count((True, True)),
        rights.count((True, False)),
        rights.count((False, True)),
        rights.count((False, False)),
    )


def agreement(a: list[int], b: list[int]) -> float:
    """Return the percentage of images to which two networks give the same class."""
    return 100 * sum(x == y for x, y in zip(a, b, strict=True)) / len(a)
