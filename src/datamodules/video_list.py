"""Loads videos that text files list with their classes, `path label` in each line."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from typing_extensions import Unpack, override

from ..errors import InputError
from ..ranges import Text
from .clip_files import ClipFiles, lines_of
from .listing import find_listed
from .videos import VideoModule, VideoSettings
from .walking import natural_key

log = logging.getLogger(__name__)

_MOST = 100_000  # classes


class ListedVideos(ClipFiles):
    """Reads a list for training and another for validation.

    If all labels are whole numbers they are the outputs, else they are names of classes in natural
    order. Paths are relative to the root or absolute; they may contain spaces, labels may not.
    """

    def __init__(self, root: str | None, train_list: str, val_list: str) -> None:
        """Keep the names of the two lists."""
        super().__init__(root)
        self._lists = {True: train_list, False: val_list}

    @override
    def declared_classes(self) -> list[str]:
        parts = [part for part in (True, False) if self._file(part).is_file()] or [False]
        labels = {label for part in parts for _, label in self._entries(part)}
        if all(label.isdecimal() for label in labels):
            return self._numbers(sorted(map(int, labels)))
        return sorted(labels, key=natural_key)

    def _numbers(self, labels: Sequence[int]) -> list[str]:
        """Return the name of each output, up to the largest of the labels, ascending.

        Raises:
            InputError: If that is no number of a class.
        """
        most = labels[-1] if labels else -1
        if most >= _MOST:
            raise InputError(
                f"{self._file(training=False)} or {self._lists[True]} has the label {most}: labels "
                f"are the outputs of a network, from 0 to {_MOST - 1} at most, or names."
            )
        if labels and labels[0] > 0:
            log.warning(
                f"The labels of {self._file(training=False)} begin with {labels[0]}, and they are "
                f"the outputs of the network, of which {labels[0]} never occur."
            )
        return [str(output) for output in range(most + 1)]

    @override
    def find(self, training: bool) -> list[tuple[str, str]]:
        entries, file = self._entries(training), self._file(training)
        inside = [path for path, _ in entries if not os.path.isabs(path)]
        found = map(str, find_listed(self.root, inside, file, "video"))
        missing = [p for p, _ in entries if os.path.isabs(p) and not os.path.exists(p)]
        if missing:
            raise InputError(f"{missing[0]}, which {file} lists, does not exist: correct its path.")
        return [(p if os.path.isabs(p) else next(found), label) for p, label in entries]

    def _file(self, training: bool) -> Path:
        return self.root / self._lists[training]

    def _entries(self, training: bool) -> list[tuple[str, str]]:
        entries = []
        for number, line in lines_of(self._file(training)):
            path, *label = line.rsplit(maxsplit=1)
            if not label:
                raise InputError(
                    f"line {number} of {self._file(training)} is {line[:80]!r}: write a path and a "
                    "label, with a space between them."
                )
            if re.fullmatch(r"[-+]?[\d.]+", label[0]) and not label[0].isdecimal():
                raise InputError(
                    f"line {number} of {self._file(training)} has the label {label[0]}: write a "
                    "whole number from 0, or a name, and leave out videos without a label."
                )
            entries.append((path, str(int(label[0])) if label[0].isdecimal() else label[0]))
        return entries


class VideoList(VideoModule):
    """Loads the videos of two lists."""

    ranges = {"train_list": Text("train.txt"), "val_list": Text("val.txt")}

    def __init__(
        self,
        *,
        root: str | None,
        train_list: str,
        val_list: str,
        **videos: Unpack[VideoSettings],
    ) -> None:
        """Keep the settings; nothing is read before `check`.

        Args:
            root: Folder from which paths start.
            train_list: Path of the training list, relative to the root.
            val_list: Path of the validation list, relative to the root.
            videos: Arguments of `VideoModule`.
        """
        super().__init__(**videos)
        self._parts = (root, train_list, val_list)

    @cached_property
    @override
    def source(self) -> ListedVideos:
        return ListedVideos(*self._parts)
