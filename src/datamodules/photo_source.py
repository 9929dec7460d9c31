"""Defines sources of photographs, and of other samples, with one class each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

Transform = Callable[[Image.Image], Tensor]


class LabelledSource(Protocol):
    """Knows the samples of a training and a validation part, and their classes.

    A derived class has defaults: all its classes occur, and the samples are not files. A
    `LabelledModule` turns an `OSError` of these methods into an `InputError` that names the file,
    and finds which classes occur once those of a network are adopted.
    """

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...] | None:
        """Return the name of each output's class; None where the source does not know them."""

    @property
    def num_classes(self) -> int:
        """Return how many outputs a network for these samples has."""
        return len(self.class_names or ())

    @property
    def present_classes(self) -> tuple[int, ...] | None:
        """Return the outputs that occur, ascending; None when all do."""
        return None

    def class_name(self, label: int) -> str:
        """Return the name of a class in pictures."""
        return self.class_names[label] if self.class_names else str(label)

    @abstractmethod
    def adopt_classes(self, names: Sequence[str]) -> None:
        """Label samples by the outputs of a network; its classes `names` include all of these."""

    @abstractmethod
    def check(self, training: bool) -> None:
        """Check the validation part, and the training part if asked for.

        Raises:
            InputError: One sentence on what is wrong.
        """

    @abstractmethod
    def num_train_images(self) -> int:
        """Return how many training samples there are."""

    def val_filenames(self) -> Sequence[str] | None:
        """Return the file of each validation sample in order; None where samples are not files."""
        return None


class PhotoSource(LabelledSource, Protocol):
    """Provides the photographs of a training and a validation part."""

    @abstractmethod
    def dataset(self, training: bool, transform: Transform) -> Dataset[tuple[Tensor, int]]:
        """Return a part's images in their order, each with the number of its output.

        From `LabelledImages` the caller can leave out those that cannot be read. Any other data set
        must do so itself, and an `IterableDataset` distributes itself among processes.

        Args:
            training: Whether the training part is meant, else the validation part.
            transform: Makes the input `(3, S, S)` from a decoded RGB image.
        """
