"""Defines the files that hold what a task predicts; a task names its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, ClassVar, NamedTuple

from PIL import Image
from torch import Tensor, nn
from typing_extensions import Self

from ..config import locate
from ..datamodules.normalization import Normalization
from ..datamodules.preprocessing import Preprocessing
from ..datamodules.unlabelled import PHOTOGRAPHS, FileKind, Photograph
from ..datamodules.unlabelled_batches import (
    UnlabelledFiles,
    UnlabelledPhotos,
    evaluation_transform,
)
from ..errors import InputError
from ..modules.base import SparseModule
from ..modules.heads.base import Output
from ..pictures.dense import SHOWN

Record = object  # of one image, as JSON holds it


class Predicted(NamedTuple):
    """Names an image whose prediction is written.

    Attributes:
        name: Its path below the folder of all images.
        size: Width and height in pixels before it was framed.
        frame: Height and width of the network's input.
    """

    name: str
    size: tuple[int, int]
    frame: tuple[int, int]


class Drawn(NamedTuple):
    """Holds an image to draw a prediction on.

    Attributes:
        photograph: As it was read.
        pixels: `(1, 3, H, W)`, the network's input, or views of a clip.
        normalization: Of `pixels`.
    """

    photograph: Image.Image
    pixels: Tensor
    normalization: Normalization

    @property
    def frame(self) -> tuple[int, int]:
        """Return height and width of the network's input."""
        return self.pixels.shape[-2], self.pixels.shape[-1]


@dataclass(frozen=True)
class Reading:
    """Holds how files become a network's inputs.

    Attributes:
        preprocessing: How evaluation prepares images.
        sides: Height and width of an input in pixels, before them the frames of a clip.
        data: The settings of the data module, as `conf/datamodule` has them.
    """

    preprocessing: Preprocessing
    sides: tuple[int, ...]
    data: dict[str, Any]


@dataclass(frozen=True)
class Options:
    """Holds what may be chosen about predictions; each kind of file reads its own.

    Attributes:
        class_names: The name of each output's class; None where they are not known.
        present_classes: Outputs that occur in the data of an evaluation; None for all.
        top_k: Classes of an image with one label, the likeliest first.
        threshold: Least probability of a label where an image has several.
        colored: Masks are written with a palette.
        min_score: Least score of an object that is drawn; files hold all.
    """

    class_names: tuple[str, ...] | None = None
    present_classes: tuple[int, ...] | None = None
    top_k: int = 1
    threshold: float = 0.5
    colored: bool = False
    min_score: float = SHOWN

    def name(self, output: int) -> str:
        """Return the name of an output's class, or its number."""
        names = self.class_names
        return names[output] if names and output < len(names) else str(output)


class Predictions(ABC):
    """Writes the predictions of a task for one batch after another, as a context manager.

    If the block fails, what was there before stays as it is; where each image has a file of its
    own, those that are complete stay. `default` names the file or folder where none is given, and
    `inputs` which files are predicted.
    """

    default: ClassVar[str]
    inputs: ClassVar[FileKind] = PHOTOGRAPHS

    def __init__(self, path: Path, options: Options) -> None:
        """Keep where to write; nothing is opened yet."""
        self.path = path
        self.options = options
        self.open = ExitStack()
        self.keep: Callable[[Sequence[Record]], None] | None = None

    def reserve(self, names: Sequence[str]) -> None:  # noqa: B027
        """Learn the names of all images, where their order decides on the names of files."""

    def files(self) -> list[Path]:
        """Return the files that are going to be written, once the names are known."""
        return [self.path]

    def emit(self, records: Sequence[Record]) -> None:
        """Hand over the predictions of a batch: to `keep` if somebody has set it, else to `put`.

        Args:
            records: One for each image, of what JSON can hold.
        """
        (self.keep or self.put)(records)

    def put(self, records: Sequence[Record]) -> None:  # noqa: B027
        """Write what `emit` was given; nothing where each image has a file of its own."""

    @classmethod
    def of_evaluation(cls) -> type[Predictions]:
        """Return the class for evaluations, which know the truth: this one by default."""
        return cls

    @classmethod
    def reading(cls, files: Sequence[Photograph], how: Reading) -> UnlabelledFiles:
        """Return the data set of the files to predict."""
        return UnlabelledPhotos(files, evaluation_transform(how.preprocessing))

    @classmethod
    def inputs_of(cls, images: Tensor) -> Tensor:
        """Return one network input of each file of a batch of that data set."""
        return images

    @classmethod
    def run(cls, network: nn.Module, images: Tensor) -> Output:
        """Return the output for a batch of that data set."""
        output: Output = network(images)
        return output

    @abstractmethod
    def start(self) -> None:
        """Open what is written to."""

    @abstractmethod
    def write(
        self, images: Sequence[Predicted], output: Output, target: object | None = None
    ) -> None:
        """Write the predictions of a batch by `emit`; `target` is the truth, of an evaluation."""

    @abstractmethod
    def draw(self, image: Drawn, output: Output) -> Image.Image:
        """Draw a prediction; `output` is of this image alone."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.open.__exit__(kind, error, trace)


def predictions_of(task: type[SparseModule] | SparseModule) -> type[Predictions]:
    """Return the class that writes what a task predicts.

    Raises:
        InputError: If the task names none.
    """
    if task.predictions is None:
        name = task.__name__ if isinstance(task, type) else type(task).__name__
        raise InputError(
            f"The task {name} does not say how its predictions are written: name a subclass of "
            "src.predictions.base.Predictions as its attribute predictions."
        )
    kind: type[Predictions] = locate({"_target_": task.predictions})
    return kind


class PictureNames:
    """Gives each image the name of a png of its own, after its path."""

    def __init__(self) -> None:
        """Start without names."""
        self._taken: set[str] = set()

    def of(self, name: str) -> str:
        """Return `dir/a.png` for `dir/a.jpg`, or `dir/a.jpg.png` if that is another image's."""
        path = PurePosixPath(name)
        others = (f"{path}.{number}.png" for number in count(2))
        chosen = next(
            one
            for one in chain((str(path.with_suffix(".png")), f"{path}.png"), others)
            if one.casefold() not in self._taken
        )
        self._taken.add(chosen.casefold())
        return chosen
