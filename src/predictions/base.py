"""Defines the files that hold what a task predicts; a task names its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import ClassVar, NamedTuple

from PIL import Image
from torch import Tensor
from typing_extensions import Self

from ..config import locate
from ..datamodules.normalization import Normalization
from ..errors import InputError
from ..modules.base import SparseModule
from ..modules.heads.base import Output
from ..pictures.dense import SHOWN


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
        pixels: `(1, 3, H, W)`, the network's input.
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
class Options:
    """Holds what may be chosen about predictions; each kind of file reads its own.

    Attributes:
        class_names: The name of each output's class; None where they are not known.
        top_k: Classes of an image with one label, the likeliest first.
        threshold: Least probability of a label where an image has several.
        colored: Masks are written with a palette.
        min_score: Least score of an object that is drawn; files hold all.
    """

    class_names: tuple[str, ...] | None = None
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
    own, those that are complete stay. `default` names the file or folder where none is given.
    """

    default: ClassVar[str]

    def __init__(self, path: Path, options: Options) -> None:
        """Keep where to write; nothing is opened yet."""
        self.path = path
        self.options = options
        self.open = ExitStack()

    @classmethod
    def of_evaluation(cls) -> type[Predictions]:
        """Return the class for evaluations, which know the truth: this one by default."""
        return cls

    @abstractmethod
    def start(self) -> None:
        """Open what is written to."""

    @abstractmethod
    def write(
        self, images: Sequence[Predicted], output: Output, target: object | None = None
    ) -> None:
        """Write the predictions of a batch; `target` is the truth, of an evaluation."""

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
        chosen = str(path.with_suffix(".png"))
        if chosen.casefold() in self._taken:
            chosen = f"{path}.png"
        self._taken.add(chosen.casefold())
        return chosen
