"""Rewrites command lines for Hydra, so that paths and words arrive as people type them.

Hydra's grammar takes `=`, `,`, `(`, `~`, quotes and every letter beyond ASCII for syntax or for an
error. Here the value of a key that holds a path is quoted for Hydra, so that it arrives as it was
typed. The last part of a key tells whether it holds a path, as in `datamodule.root` and
`callbacks.maps.folder`: a later setting needs no entry here, only a name that says what it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import islice

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString, ValueType
from hydra.errors import HydraException

from ..errors import InputError

# Last parts of keys: of what is read, and of what is written.
_READ = {"root", "weights", "ckpt_path", "assets", "filename"}
_WRITTEN = {"dir", "dirpath", "file", "folder", "path", "save_dir", "default_root_dir", "subdir"}
# What evaluation writes; beneath a group, as in callbacks.token_maps, these are no paths.
_WRITTEN_WHOLE = {
    "class_iou",
    "class_map",
    "disagreement",
    "paths.run",
    "pictures",
    "position_map",
    "predictions",
    "token_maps",
}
_HEADING = "title"  # text, whose commas are no sweep
_NAME = re.compile(r"(.*\.)?(dataset|lists|\w+_(split|csv|json|list|key))")
# Hydra's flags that take the next word as their value.
_WITH_VALUE = {
    *("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn"),
    *("--package", "-p", "--cfg", "-c", "--experimental-rerun"),
}
_OVERRIDE = re.compile(r"(?P<prefix>\+{0,2})(?P<key>[\w./@:$-]+)=(?P<value>.*)", re.DOTALL)
_ESCAPED = re.compile(r"\\([\\()\[\]{}:=, \t])")
_FUNCTION = re.compile(r"(choice|shuffle|sort|tag|glob)\(.*\)", re.DOTALL)


def for_hydra(arguments: list[str]) -> list[str]:
    """Return the command line in Hydra's grammar, so that its values are what was typed.

    With `-m` a path with commas is a list of paths, except where it exists as one path.

    Args:
        arguments: As the shell hands them over; values may be quoted for Hydra already.

    Raises:
        InputError: If an argument is not UTF-8, or a path is empty.
    """
    sweeping = is_sweep(arguments)
    return [_quoted(argument, sweeping) for argument in arguments]


def with_path(arguments: list[str], key: str) -> list[str]:
    """Return the command line with the value of `key` quoted as a path, if it is no list."""
    start = f"{key}="
    return [
        f"{start}{_quote(_meant(argument.removeprefix(start)))}"
        if argument.startswith(start) and argument[len(start) :][:1] not in ("", "[")
        else argument
        for argument in arguments
    ]


def flags_first(arguments: list[str]) -> list[str]:
    """Return the command line with Hydra's flags, and their values, in front of the overrides.

    Hydra's parser takes overrides in one piece and refuses flags between them.
    """
    flags, overrides, rest = [], [], iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            overrides.append(argument)
            continue
        flags.append(argument)
        if argument in _WITH_VALUE:
            flags += list(islice(rest, 1))
    return flags + overrides


def is_sweep(arguments: list[str]) -> bool:
    """Return whether the command line asks for several jobs."""
    return any(map(is_sweep_flag, arguments)) or "hydra.mode=MULTIRUN" in arguments


def is_sweep_flag(argument: str) -> bool:
    """Return whether an argument is `-m` or a beginning of `--multirun`, as for argparse."""
    return argument == "-m" or (len(argument) > 2 and "--multirun".startswith(argument))


def is_path(key: str) -> bool:
    """Return whether a setting of this name holds a path."""
    return is_written(key) or key.rpartition(".")[2] in _READ or key == "hydra.sweep.subdir"


def is_name(key: str) -> bool:
    """Return whether a setting of this name holds a name, as of a part of a data set."""
    return bool(_NAME.fullmatch(key))


def is_written(key: str) -> bool:
    """Return whether a setting of this name holds a path that a run writes to."""
    return key in _WRITTEN_WHOLE or key.rpartition(".")[2] in _WRITTEN


def parsed(argument: str) -> Override | None:
    """Parse an argument as Hydra does; return None for a flag or what it cannot read."""
    if argument.startswith("-"):
        return None
    try:
        return OverridesParser.create().parse_override(argument)
    except (HydraException, ValueError):
        return None


def texts(override: Override) -> list[str]:
    """Return an override's values as plain text, without nulls and what only Hydra can list."""
    values = [override.value()]
    if override.is_sweep_override():
        listed = override.value_type in (ValueType.CHOICE_SWEEP, ValueType.SIMPLE_CHOICE_SWEEP)
        values = list(override.sweep_iterator()) if listed else []
    return [
        value.text if isinstance(value, QuotedString) else str(value)
        for value in values
        if value is not None
    ]


def _quoted(argument: str, sweeping: bool) -> str:
    try:
        argument.encode()
    except UnicodeEncodeError:
        shown = argument.encode(errors="surrogateescape").decode(errors="backslashreplace")
        raise InputError(
            f"{shown} on the command line is not UTF-8: give the file a name that is, or a link "
            "to it with such a name."
        ) from None
    match = _OVERRIDE.fullmatch(argument)
    if match is None:
        return argument  # a flag or a deletion
    prefix, key, value = match.group("prefix", "key", "value")
    if is_path(key):
        words = _paths(key, value, sweeping and not key.startswith("hydra."))
    elif value and value[0] not in "[{'\"" and "${" not in value:
        if parsed(argument) is None or (key == _HEADING and value.lower() != "null"):
            words = [_quote(value)]
        elif is_name(key):
            words = list(map(_named, _split(value)))
        else:
            return argument
    else:
        return argument
    quoted = f"{prefix}{key}={','.join(words)}"
    return quoted if parsed(quoted) else argument  # Hydra says what is wrong with the key


def _named(part: str) -> str:
    """Return a word of Hydra's grammar for a name, quoted where it reads as a number or a truth."""
    override = parsed(f"name={part}")
    return _quote(part) if override and isinstance(override.value(), (int, float)) else part


def _paths(key: str, value: str, sweeping: bool) -> list[str]:
    """Return words of Hydra's grammar for the path or, in a sweep, the paths in `value`."""
    if value.lower() == "null" or (sweeping and _FUNCTION.fullmatch(value)):
        return [value]
    parts = [value]
    if sweeping and not _exists(value):
        parts = _joined(list(_split(value)))
    if not all(part.strip() for part in parts):
        raise InputError(f"{key}={value} lacks a path: give one, or null for none.")
    return [part if part.lower() == "null" else _quote(_meant(part)) for part in parts]


def _split(value: str) -> Iterator[str]:
    """Split a list at commas outside of quotes, escapes and `${...}`."""
    token = re.compile(
        r"""(?:\A|(?<=,))(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")(?=,|\Z)|\$\{[^}]*\}|\\.|.""",
        re.DOTALL,
    )
    part = ""
    for match in token.finditer(value):
        if match[0] == ",":
            yield part
            part = ""
        else:
            part += match[0]
    yield part


def _joined(parts: list[str]) -> list[str]:
    """Join parts that form one existing path, as in the folder of a sweep `rho=0.5,0.7`."""
    joined = []
    while parts:
        ends = range(len(parts), 1, -1)
        end = next((end for end in ends if _exists(",".join(parts[:end]))), 1)
        joined.append(",".join(parts[:end]))
        parts = parts[end:]
    return joined


def _exists(path: str) -> bool:
    """Return whether the path exists, or for a new file the folder that has the commas."""
    path = os.path.expanduser(path)
    folder, name = os.path.split(path)
    return os.path.lexists(path) or ("," in folder and "," not in name and os.path.isdir(folder))


def _meant(value: str) -> str:
    """Return the path that a word means, without quotes and escapes of Hydra's grammar."""
    override = parsed(f"path={value}") if value[0] in "'\"" else None
    if override is not None and isinstance(override._value, QuotedString):
        value = override._value.text
    elif not os.path.lexists(os.path.expanduser(value)):
        value = _ESCAPED.sub(r"\1", value)
    return os.path.expanduser(value)


def _quote(value: str) -> str:
    return QuotedString(value, Quote.single).with_quotes()
