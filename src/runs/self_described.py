"""Recognizes files and hub names that describe themselves among the values of `ckpt_path`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Settings, instantiate, locate
from ..errors import InputError
from ..modules.saving.hub import is_address
from .option_words import backbone_words, method_words, same_network

if TYPE_CHECKING:
    from ..modules.saving.stored import Stored

ONNX = ".onnx"
_OF_SIZES = {"backbone.image_size", "datamodule.image_size"}
_OF_RATIOS = {"rho", "schedule", "schedule.rho", "schedule.ratios"}


def describes_itself(path: str) -> bool:
    """Return whether `path` is a file that `student.save` or export wrote, or is on the hub."""
    if is_address(path) or Path(path).suffix == ONNX:
        return True
    return Path(path).suffix == ".safetensors" and "method" in _header(path)


def _header(path: str) -> dict[str, str]:
    """Return the metadata of a `.safetensors` file; nothing for another file."""
    from safetensors import safe_open  # late, for the sake of `--help`

    try:
        with safe_open(Path(path).expanduser(), "pt") as file:
            return file.metadata() or {}
    except Exception:  # of Rust's reader; whoever reads the weights says what is wrong
        return {}


def check_described(path: str, settings: Settings, typed: Sequence[str]) -> None:
    """Check that a command which takes the weights of a saved student takes this student.

    Its command line may choose another method or ratio, and a default may not.

    Args:
        path: `ckpt_path`.
        settings: The composed configuration, resolved.
        typed: The command line's overrides.

    Raises:
        InputError: If the network is another, or task, image size, method or ratios are and nobody
            has chosen them.
    """
    if Path(path).suffix != ".safetensors" or not describes_itself(path):
        return
    from ..modules.saving.stored import read_stored  # late, for the sake of `--help`

    stored = read_stored(Path(path).expanduser())
    network = settings["backbone"]["network"]
    if not same_network(stored.network, network):
        raise InputError(
            f"ckpt_path={path} holds the network {stored.network}, and this command line chooses "
            f"{network}: give {backbone_words(stored.network, stored.options)}."
        )
    keys = {override.lstrip("+~").partition("=")[0] for override in typed}
    if "task" not in keys and (other := _other_task(stored, settings)):
        raise InputError(f"ckpt_path={path} {other}: add task={stored.task}.")
    if not keys & _OF_SIZES and (other := _other_size(stored, settings)):
        raise InputError(f"ckpt_path={path} {other}.")
    methods = stored.method, settings["method"]
    ratios = stored.schedule.get("ratios"), list(instantiate(settings["schedule"]).ratios)
    differing, missing = [], []
    options = any(key.startswith("method.") for key in keys)
    if "method" not in keys and _facts(methods[0], options) != _facts(methods[1], options):
        differing.append(" instead of ".join(map(_shown, methods)))
        missing.append(method_words(_facts(methods[0])) or "method=NAME")
    if not keys & _OF_RATIOS and ratios[0] != ratios[1]:
        differing.append("the ratios {} instead of {}".format(*map(_rounded, ratios)))
        missing.append("rho=NUMBER")
    if differing:
        raise InputError(
            f"ckpt_path={path} was saved with {' and with '.join(differing)}, which this command "
            f"line has by default: add {' and '.join(missing)}, or give the .ckpt of its "
            "training, which brings its settings."
        )


def _other_task(stored: Stored, settings: Settings) -> str:
    """Say that the file is for another task than is chosen; nothing if it is not, or may be so.

    Former files call a student for several labels a classification.
    """
    own = locate(settings["task"]).task if "task" in settings else None
    if own is None or stored.head is not None or stored.task in (own, "classification"):
        return ""
    return f"is of task={stored.task} instead of task={own}, which this command line has by default"


def _other_size(stored: Stored, settings: Settings) -> str:
    """Say that the file is for images of another size, and what gives them; nothing if it is not.

    Sizes of which height and width differ are not compared.
    """
    network = stored.options.get("img_size") or stored.image_size
    for group, sides in (("backbone", network), ("datamodule", stored.preprocessing.size)):
        chosen, own = settings.get(group, {}).get("image_size"), _side(sides)
        if None not in (chosen, own) and chosen != own:
            return (
                f"is for images of {own} pixels, and this command line has {chosen} by default: "
                f"add {group}.image_size={own}, or {chosen} if that is meant"
            )
    return ""


def _side(sides: object) -> int | None:
    """Return the side of a square, given alone or as height and width; None for anything else."""
    if isinstance(sides, (list, tuple)):
        return sides[0] if len(set(sides)) == 1 else None
    return sides if isinstance(sides, int) else None


def _shown(method: Mapping[str, object]) -> str:
    return method_words(_facts(method)) or f"the method {method.get('_target_')}"


def _rounded(ratios: object) -> object:
    return [round(ratio, 4) for ratio in ratios] if isinstance(ratios, list) else ratios


def _facts(method: Mapping[str, object], chosen: bool = False) -> dict[str, object]:
    """Return what makes a method; not its options, where these are chosen."""
    if chosen:
        return {"_target_": method.get("_target_")}
    return {key: value for key, value in method.items() if key != "_recursive_"}
