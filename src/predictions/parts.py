"""Keeps predictions of several processes in parts until every image has one, then joins them.

Each process appends to a file of its own, a line for each image and each batch at once; a process
that is killed loses at most the batch it was at. Whoever finds that no image is missing writes the
predictions in the images' order, so that the number of processes does not matter.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError, some
from ..files import digest, naming
from .base import Predictions, Record

_CHUNK = 256  # records that are in memory at once when parts are joined


class Unread(NamedTuple):
    """Names an image that cannot be read, and why."""

    number: int
    reason: str


class Parts:
    """Holds the folder of parts beside the predictions."""

    def __init__(self, path: Path, facts: Mapping[str, object], rank: int, images: int) -> None:
        """Find the folder; parts of other predictions, as of another network, are not in it.

        Args:
            path: Of the predictions.
            facts: All that the predictions depend on.
            rank: Of this process.
            images: How many there are.
        """
        known = digest(json.dumps(facts, sort_keys=True, default=str))
        self.folder = path.parent / f".{path.name[:100]}.{known}.parts"
        self._images = images
        self._own = self.folder / f"{rank}.jsonl"

    def done(self) -> set[int]:
        """Return the numbers of the images that any process has written."""
        return set(self._places())

    def add(
        self, numbers: Sequence[int], records: Sequence[Record], unread: Sequence[Unread]
    ) -> None:
        """Append the images of a batch at once, and hand them to the system.

        Raises:
            InputError: If there is not a record for each number.
        """
        if len(numbers) != len(records):
            raise InputError(
                f"{len(records)} predictions were recorded for {len(numbers)} images: a subclass "
                "of src.predictions.base.Predictions that several processes write with calls "
                "self.emit with a record for each image."
            )
        lines = [*zip(numbers, ({"record": one} for one in records), strict=True)]
        lines += [(number, {"unread": reason}) for number, reason in unread]
        with naming(self._own):
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._own.open("ab") as file:
                # A line that a killed process has not finished ends here.
                content = "\n" + "".join(
                    json.dumps({"number": number} | said) + "\n" for number, said in lines
                )
                file.write(content.encode())

    def join(self, predictions: Predictions) -> list[Unread] | None:
        """Write the predictions of all images; None where some are missing still.

        Returns:
            The images that cannot be read; None also where another process has written them.

        Raises:
            InputError: If no image can be read.
        """
        from filelock import FileLock

        if len(self.done()) < self._images:
            return None
        with FileLock(f"{self.folder}.lock"):
            if not self.folder.exists():
                return None
            unread = self._join(predictions)
            shutil.rmtree(self.folder)
        with suppress(OSError):
            Path(f"{self.folder}.lock").unlink()
        return unread

    def _join(self, predictions: Predictions) -> list[Unread]:
        places, unread = self._places(), []
        with predictions:
            records: list[Record] = []
            for number in sorted(places):
                file, offset = places[number]
                with file.open("rb") as part:
                    part.seek(offset)
                    said = json.loads(part.readline())
                if "unread" in said:
                    unread.append(Unread(number, said["unread"]))
                else:
                    records.append(said["record"])
                if len(records) == _CHUNK:
                    predictions.put(records)
                    records = []
            predictions.put(records)
            if len(unread) == self._images:
                raise InputError(
                    f"None of the {self._images} photographs can be read ({some(unread[0][1:])})."
                )
        return unread

    def _places(self) -> dict[int, tuple[Path, int]]:
        """Return in which part, and from which byte on, each image has its line."""
        found: dict[int, tuple[Path, int]] = {}
        for file in sorted(self.folder.glob("*.jsonl")):
            for offset, line in _lines(file):
                try:
                    number = json.loads(line)["number"]
                except (ValueError, KeyError, TypeError):
                    continue  # cut when its process was killed
                if isinstance(number, int) and 0 <= number < self._images:
                    found.setdefault(number, (file, offset))
        return found


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the complete lines of a file with the byte at which each starts."""
    offset = 0
    with suppress(FileNotFoundError), file.open("rb") as part:  # joined meanwhile
        for line in part:
            if line.endswith(b"\n") and line.strip():
                yield offset, line
            offset += len(line)
