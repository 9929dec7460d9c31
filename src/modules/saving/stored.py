"""Reads the description of the student in a file, as values that have been checked."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from ...datamodules.preprocessing import LARGEST_SIDE, Preprocessing
from ...errors import InputError
from .description import FORMAT, VERSION, Plain

_LARGEST = 10**6  # the largest number in a header
_LONGEST = 1000  # the longest list in a header
_DEEPEST = 5


@dataclass(frozen=True)
class Stored:
    """Holds the description in a file; values have the right types, but may not fit each other.

    Attributes:
        path: The file.
        network: timm's name.
        options: Arguments of `timm.create_model`.
        image_size: Height and width in pixels, where they are no option; None for timm's.
        num_classes: Outputs of the network's classifier.
        method: Settings as in `conf/method`.
        schedule: As `schedule_of` returns it.
        task: What the outputs are, by a name of `conf/task`.
        head: Settings as in `conf/head`, or None.
        task_classes: Classes that the head, or without one the network, tells apart.
        class_names: One for each output, or None.
        preprocessing: How evaluation prepares images.
        metrics: Numbers by name.
        versions: Versions of the packages that wrote the file.
    """

    path: Path
    network: str
    options: Plain
    image_size: tuple[int, int] | None
    num_classes: int
    method: Plain
    schedule: Plain
    task: str
    head: Plain | None
    task_classes: int
    class_names: tuple[str, ...] | None
    preprocessing: Preprocessing
    metrics: dict[str, float]
    versions: Plain


def read_stored(path: Path) -> Stored:
    """Read and check the description in the header of a `.safetensors` file.

    Raises:
        InputError: If there is none, or it has another format, or a value of the wrong type.
    """
    try:
        with safe_open(path, "pt") as file:
            header: dict[str, str] = file.metadata() or {}
    except Exception as error:  # raised for other formats, also by Rust's reader
        raise _no_student(path) from error
    if "format" not in header or header["format"] == "pt":
        raise _no_student(path)
    try:
        form = table(_plain(header, "format"), "format")
        if form.get("name") != FORMAT["name"]:
            raise _no_student(path)
        if form.get("version") != VERSION:
            raise InputError(
                f"its format version {str(form.get('version'))[:40]} is not the {VERSION} that "
                "this tokenthrift reads: install the version that wrote it."
            )
        return _checked(path, header)
    except InputError as error:
        if str(path) in str(error):
            raise
        raise InputError(f"{path} cannot be loaded: {error}") from error


def check_text(path: Path, header: dict[str, str]) -> None:
    """Check that a file at `path` could be read again whose header is to be `header`.

    Raises:
        InputError: Naming what of it could not.
    """
    try:
        _checked(path, header)
    except InputError as error:
        raise InputError(f"The student cannot be saved: {error}") from error


def _no_student(path: Path) -> InputError:
    return InputError(
        f"{path} is not a saved student, for it does not describe one: give a file that "
        "student.save wrote, or build the student and use load_weights."
    )


def _checked(path: Path, header: dict[str, str]) -> Stored:
    network, method, task = (
        table(_plain(header, key), key) for key in ("network", "method", "task")
    )
    count, outputs = (whole(part.get("num_classes"), "num_classes") for part in (network, task))
    head = task.get("head")
    names = _plain(header, "class_names")
    class_names = None if names is None else texts(names, "class_names")
    if class_names is not None and len(class_names) != outputs:
        raise InputError(f"it has {len(class_names)} class names for {outputs} outputs.")
    metrics = table(_plain(header, "metrics"), "metrics")
    return Stored(
        path,
        text(network.get("name"), "network.name"),
        table(network.get("options"), "network.options"),
        _size(network.get("image_size"), "network.image_size"),
        count,
        table(method.get("settings"), "method.settings"),
        table(_plain(header, "schedule"), "schedule"),
        text(task.get("name"), "task.name"),
        None if head is None else table(head, "task.head"),
        outputs,
        class_names,
        Preprocessing.checked(_plain(header, "preprocessing"), "preprocessing"),
        {name: number(value, f"metrics.{name[:40]}") for name, value in metrics.items()},
        table(_plain(header, "versions"), "versions"),
    )


def _plain(header: dict[str, str], key: str) -> object:
    """Return the value of the JSON under `key`, whose numbers, lists and depth are bounded."""
    if key not in header:
        raise InputError(f"its header lacks {key}.")
    try:
        value = json.loads(header[key], parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{key} in its header is not plain JSON.") from error
    longest = len(header[key]) if key == "class_names" else _LONGEST
    _check_bounds(value, key, longest)
    return value


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _check_bounds(value: object, name: str, longest: int, depth: int = 0) -> None:
    if depth > _DEEPEST:
        raise InputError(f"{name} in its header is nested too deeply.")
    if isinstance(value, (list, dict)):
        if len(value) > longest:
            raise InputError(f"{name} in its header has {len(value)} entries, which is too many.")
        for item in value.values() if isinstance(value, dict) else value:
            _check_bounds(item, name, longest, depth + 1)
    elif isinstance(value, (int, float)) and not abs(value) <= _LARGEST:
        raise InputError(f"{name} in its header has the number {str(value)[:40]}: it is damaged.")


def table(value: object, name: str) -> Plain:
    """Return `value` if it is a mapping from texts, else raise an `InputError` that names it."""
    if not isinstance(value, dict):
        raise _wrong(value, name, "a table of names and values")
    return value


def text(value: object, name: str) -> str:
    """Return `value` if it is a text, else raise an `InputError` that names it."""
    if not isinstance(value, str):
        raise _wrong(value, name, "a text")
    return value


def number(value: object, name: str) -> float:
    """Return `value` if it is a finite number, else raise an `InputError` that names it."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise _wrong(value, name, "a number")
    return value


def whole(value: object, name: str) -> int:
    """Return `value` if it is a whole number from 0, else raise an `InputError` that names it."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _wrong(value, name, "a whole number from 0")
    return value


def _size(value: object, name: str) -> tuple[int, int] | None:
    """Return height and width of images, or None if there are none in the file."""
    if value is None:
        return None
    sides = value if isinstance(value, list) else []
    found = tuple(side for side in sides if type(side) is int and 0 < side <= LARGEST_SIDE)
    if len(sides) != 2 or len(found) != 2:
        raise _wrong(value, name, f"height and width in whole pixels up to {LARGEST_SIDE}")
    return found


def texts(value: object, name: str) -> tuple[str, ...]:
    """Return `value` as a tuple if it is a list of different texts, else raise an `InputError`."""
    listed = value if isinstance(value, list) else []
    found = tuple(item for item in listed if isinstance(item, str))
    if not found or len(set(found)) < len(listed):
        raise _wrong(value, name, "a list of different texts")
    return found


def _wrong(value: object, name: str, kind: str) -> InputError:
    return InputError(f"{name}={str(value)[:80]!r} is not {kind}.")
