"""Finds and loads photographs without labels: folders, files, patterns and lists of paths.

Videos are found in the same way: a `FileKind` says what is looked for.
"""

from __future__ import annotations

import glob
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from typing_extensions import override

from ..errors import InputError, printable
from ..shell.stopping import follow_parent_alone
from .decoding import SUFFIXES, decode_rgb, open_image, reason
from .frames import frame
from .inputs import InputConfig
from .preprocessing import FRAME, Preprocessing
from .walking import is_left_by_systems, natural_key

_LISTS = (".txt", ".lst")


class FileKind(NamedTuple):
    """Says which files are looked for.

    Attributes:
        name: What to call several of them in a message.
        suffixes: In lower case.
    """

    name: str
    suffixes: tuple[str, ...]

    def includes(self, name: str) -> bool:
        """Tell by its suffix whether a file is one of them; hidden files are not."""
        return not name.startswith(".") and os.path.splitext(name)[1].lower() in self.suffixes


PHOTOGRAPHS = FileKind("photographs", SUFFIXES)


class Photograph(NamedTuple):
    """Names a file: `name` is its path from the folder that all of them have in common."""

    path: Path
    name: str


class PhotoBatch(NamedTuple):
    """Holds the photographs of a batch that can be read, and why the others cannot.

    Attributes:
        images: `(B, 3, H, W)`, or views of clips, prepared; `(0,)` if none can be read.
        numbers: Of these photographs in the list.
        sizes: Width and height in pixels of each, before it was prepared.
        unread: Number and reason of each photograph that cannot be read.
    """

    images: Tensor
    numbers: list[int]
    sizes: list[tuple[int, int]]
    unread: list[tuple[int, str]]


def find_photographs(
    images: str | int | float | Sequence[str] | None, kind: FileKind = PHOTOGRAPHS
) -> list[Photograph]:
    """Return the photographs that `images` names, or files of another kind, each once.

    A folder has those at any depth in the order of their paths, with the suffix of a photograph,
    and so has a pattern, as `photos/**/*.jpg`. Files that are named one by one, in `images` or in
    a text file of paths, are taken as they are; such paths start from the working directory, or
    else from the folder of the list.

    Raises:
        InputError: If there are none, or a file that is named is missing.
    """
    given = [images] if isinstance(images, (str, int, float)) else list(images or ())
    if not given:
        raise InputError(
            "images is not set: give a folder, a file, a pattern in quotes or a list of files, as "
            "images=photos or images=list.txt."
        )
    found: dict[Path, Path] = {}  # to the folder that names start from
    for one in given:
        found |= _found(str(one), kind)
    if not found:
        raise InputError(
            f"images={_shown(given)} has no {kind.name}: they end in {' '.join(kind.suffixes)}."
        )
    bases = {os.path.abspath(base) for base in found.values()}
    common = os.path.commonpath(bases)
    return [
        Photograph(path, Path(os.path.relpath(os.path.abspath(path), common)).as_posix())
        for path in found
    ]


def _found(image: str, kind: FileKind) -> dict[Path, Path]:
    path = Path(image).expanduser()
    if path.is_dir():
        return dict.fromkeys(photographs_in(path, kind), path)
    if path.suffix.lower() in _LISTS and path.is_file():
        return {file: file.parent for file in _listed(path)}
    if path.exists():
        return {path: path.parent}
    if not glob.has_magic(image):
        raise InputError(
            f"images={_shown([image])} does not exist: give a folder, a file, a pattern in quotes "
            "as 'photos/**/*.jpg', or a text file with one path a line."
        )
    fixed = []
    for part in path.parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    matches = sorted(glob.glob(str(path), recursive=True), key=natural_key)
    files = (Path(one) for one in matches if kind.includes(os.path.basename(one)))
    return dict.fromkeys((file for file in files if file.is_file()), Path(*fixed))


def photographs_in(folder: Path, kind: FileKind = PHOTOGRAPHS) -> Iterator[Path]:
    """Yield the files of a kind at any depth, in the order of their paths; links count once."""
    found, seen = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(place)
        known = (status.st_dev, status.st_ino) in seen
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [] if known else sorted(n for n in folders if not is_left_by_systems(n))
        if not known:
            found += [os.path.join(place, name) for name in names if kind.includes(name)]
    yield from map(Path, sorted(found, key=natural_key))


def _listed(path: Path) -> Iterator[Path]:
    try:
        lines = path.read_text("utf-8-sig", errors="surrogateescape").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if not name:
            continue
        file = Path(name).expanduser()
        places = (file, path.parent / file)
        there = next((place for place in places if os.path.lexists(place)), None)
        if there is None or there.is_dir():
            kind = "does not exist" if there is None else "is a folder"
            raise InputError(
                f"{path} lists {printable(name)} in line {number}, which {kind}: write one file a "
                "line, from the working directory or from the folder of the list."
            )
        yield there


def _shown(given: Iterable[object]) -> str:
    return ",".join(printable(str(one)) for one in given)


class UnlabelledFiles(Dataset[PhotoBatch], ABC):
    """Decodes and prepares files, and notes why one cannot be read."""

    def __init__(self, files: Sequence[Photograph]) -> None:
        """Read `files`."""
        self._files = files

    @abstractmethod
    def prepared(self, path: Path) -> tuple[Tensor, tuple[int, int]]:
        """Return a network's input of a file, and width and height in pixels before; may raise."""

    @abstractmethod
    def original(self, path: Path) -> Image.Image:
        """Return what a prediction is drawn on."""

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> PhotoBatch:
        """Return file `index` as a batch of its own."""
        try:
            prepared, size = self.prepared(self._files[index].path)
        except Exception as error:  # decoders raise whatever they like
            return PhotoBatch(torch.zeros(0), [], [], [(index, reason(error))])
        return PhotoBatch(prepared.unsqueeze(0), [index], [size], [])


class UnlabelledPhotos(UnlabelledFiles):
    """Reads photographs as inputs `(3, H, W)`."""

    def __init__(
        self, photographs: Sequence[Photograph], transform: Callable[[Image.Image], Tensor]
    ) -> None:
        """Read `photographs`; `transform` is that of evaluation."""
        super().__init__(photographs)
        self._transform = transform

    @override
    def prepared(self, path: Path) -> tuple[Tensor, tuple[int, int]]:
        image = read_photograph(path)
        return self._transform(image), image.size

    @override
    def original(self, path: Path) -> Image.Image:
        return read_photograph(path)


def evaluation_transform(preprocessing: Preprocessing) -> Callable[[Image.Image], Tensor]:
    """Return what evaluation makes of an RGB image: the input `(3, H, W)` of a network."""
    if preprocessing.crop_mode != FRAME:
        return preprocessing.transform()
    framed = frame(
        InputConfig(
            input_size=(3, *preprocessing.size),
            mean=preprocessing.mean,
            std=preprocessing.std,
            interpolation=preprocessing.interpolation,
            crop_pct=preprocessing.crop_pct,
            crop_mode="center",
        ),
        training=False,
    )
    return lambda image: framed(image).as_subclass(Tensor)


def read_photograph(path: Path) -> Image.Image:
    """Return a photograph in RGB as every data module decodes it; whatever a decoder may raise."""
    with open_image(path) as image:
        return decode_rgb(image)


def joined(batches: Sequence[PhotoBatch]) -> PhotoBatch:
    """Join the photographs of several batches in one."""
    images = [batch.images for batch in batches if batch.numbers]
    return PhotoBatch(
        torch.cat(images) if images else torch.zeros(0),
        [number for batch in batches for number in batch.numbers],
        [size for batch in batches for size in batch.sizes],
        [one for batch in batches for one in batch.unread],
    )


def load_photographs(
    dataset: UnlabelledFiles,
    batch_size: int,
    num_workers: int,
    numbers: Sequence[int] | None = None,
) -> DataLoader[PhotoBatch]:
    """Load photographs in order, all or those of `numbers`; no more processes than batches."""
    chosen = range(len(dataset)) if numbers is None else numbers
    batches = -(-len(chosen) // batch_size)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=chosen,
        num_workers=num_workers if batches > 1 else 0,
        collate_fn=joined,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=follow_parent_alone,
    )
