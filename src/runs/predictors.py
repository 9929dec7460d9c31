"""Opens the network of a prediction: a checkpoint, weights, a saved student or an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from ..checkpoints.checkpoint import Checkpoint, taken
from ..config import Settings, instantiate, locate, option, plain_settings
from ..datamodules.base import ImageDataModule
from ..datamodules.preprocessing import Preprocessing
from ..errors import InputError
from ..modules.base import SparseModule
from ..modules.dense import DenseModule
from ..modules.heads.base import WholeNetwork
from ..modules.networks.create import own_classes
from ..modules.saving.described import CLASSIFICATION
from ..modules.saving.load import load
from ..predictions.base import Predictions, predictions_of
from ..predictions.onnx import OnnxStudent
from .other_images import warn_of_other_preprocessing
from .record import with_recorded_run
from .self_described import ONNX, describes_itself
from .settings import check_config

_OF_IMAGES = ("datamodule.image_size", "datamodule.crop_pct")  # how images are prepared


@dataclass(frozen=True)
class Predictor:
    """Holds a network and what has to be known to predict with it.

    Attributes:
        network: From images `(B, 3, H, W)` to an `Output`.
        kind: What writes the predictions of its task.
        preprocessing: How evaluation prepares images.
        sides: Height and width of an input in pixels, before them the frames of a clip.
        class_names: The name of each output's class; None where nobody knows them.
        settings: `conf/predict.yaml`, resolved, as the run behind a checkpoint had it.
    """

    network: nn.Module
    kind: type[Predictions]
    preprocessing: Preprocessing
    sides: tuple[int, ...]
    class_names: tuple[str, ...] | None
    settings: Settings


def open_predictor(config: DictConfig, overrides: Sequence[str], task: str) -> Predictor:
    """Open what `ckpt_path` names, or without it the backbone with its own weights.

    Args:
        config: As `conf/predict.yaml` composes it.
        overrides: The command line.
        task: The chosen option of `conf/task`.

    Raises:
        InputError: If there is no such network, or a setting does not suit it.
    """
    path = config.ckpt_path
    if path and Path(path).suffix == ONNX:
        _refuse_choices(path, overrides, ("rho", "method", "schedule", "backbone"))
        onnx = OnnxStudent(Path(path))
        kind = predictions_of(_task(_chosen(path, onnx.task, onnx.has_head, overrides, task)))
        sides = onnx.input_sides()
        return Predictor(
            onnx, kind, onnx.preprocessing, sides, onnx.class_names, plain_settings(config)
        )
    if path and describes_itself(path):
        return _of_student(config, overrides, task)
    return _of_run(config, overrides)


def _of_run(config: DictConfig, overrides: Sequence[str]) -> Predictor:
    """Build what evaluation builds, without its data."""
    checkpoint = taken(config.ckpt_path) if config.ckpt_path else None
    config = with_recorded_run(config, overrides, checkpoint)
    check_config(config)
    settings = plain_settings(config)
    if checkpoint is None and settings["backbone"]["weights"]:
        checkpoint = Checkpoint.read(settings["backbone"]["weights"])
    data: ImageDataModule = instantiate(settings["datamodule"])
    if checkpoint:
        warn_of_other_preprocessing(data, checkpoint)
    names = checkpoint.class_names if checkpoint else None
    count = len(names or ()) or (checkpoint and checkpoint.num_classes)
    if not count:
        headed = "head" in settings
        count = data.num_classes if headed else own_classes(settings["backbone"]["network"])
        names = data.class_names if headed else None
    module: SparseModule = instantiate(
        settings["task"], num_classes=count, present_classes=None, checkpoint=checkpoint
    )
    sides = module.student.input_sides(data.image_size)
    return Predictor(module, predictions_of(module), data.preprocessing, sides, names, settings)


def _of_student(config: DictConfig, overrides: Sequence[str], task: str) -> Predictor:
    """Load a saved student; of the settings `rho` alone changes it."""
    path = config.ckpt_path
    _refuse_choices(path, overrides, ("method", "schedule", "backbone"))
    made = load(path)
    student = made.student if isinstance(made, WholeNetwork) else made
    if "rho" in _keys(overrides):
        student.rho = float(config.rho)
    head = made.head if isinstance(made, WholeNetwork) else None
    own = student.task if head is None else head.task
    kind = _task(_chosen(path, own, head is not None, overrides, task))
    names = student.class_names
    ready, sides = student.preprocessing, student.input_sides()
    return Predictor(made, predictions_of(kind), ready, sides, names, plain_settings(config))


def _chosen(path: str, own: str, has_head: bool, overrides: Sequence[str], task: str) -> str:
    """Return the task of the file's outputs; another one that was typed is refused.

    Files from before these wrote their task call a student for several labels a classification.
    """
    chosen = task if "task" in _keys(overrides) else own
    if not has_head and issubclass(_task(chosen), DenseModule):
        raise InputError(
            f"task={chosen} needs a head, and {path} is a student without one: leave the task out."
        )
    may_be = not has_head and (own, chosen) == (CLASSIFICATION, "multilabel")
    if chosen != own and not may_be:
        raise InputError(f"task={chosen} is not what {path} is for, task={own}: leave it out.")
    return chosen


def _task(name: str) -> type[SparseModule]:
    """Return the class that `conf/task/<name>.yaml` names."""
    kind: type[SparseModule] = locate(option("task", name)["task"])
    return kind


def _keys(overrides: Sequence[str]) -> dict[str, str]:
    """Return the overrides of a command line by their keys."""
    return {override.lstrip("+~").partition("=")[0]: override for override in overrides}


def _refuse_choices(path: str, overrides: Sequence[str], keys: Sequence[str]) -> None:
    for key, override in _keys(overrides).items():
        if key.partition(".")[0] in keys or key in _OF_IMAGES:
            raise InputError(
                f"{override} would change nothing, for {path} brings its own {key}: leave it out, "
                "or give a checkpoint of the training."
            )
