"""Finds the networks that the app can look into: by name with weights, or in a file."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from pathlib import Path

from timm.data import ImageNetInfo, infer_imagenet_subset

from ..checkpoints.checkpoint import RUN, Checkpoint
from ..config import CONF, Settings, compose_config, instantiate, option, plain_settings
from ..errors import InputError
from ..measure.complexity import count_gmacs
from ..modules.backbones.base import SparseBackbone
from ..modules.heads.base import WholeNetwork
from ..modules.saving.described import CLASSIFICATION
from ..modules.saving.hub import is_address
from ..modules.saving.load import load
from ..modules.student import attach, build_student, create_student, sparsify
from ..runs.record import recorded_choices, with_recorded_run

OWN = "as saved"  # the method of a file's student
_DEFAULT = "vit_micro"
_FIRST = "attention_absorb"  # the method that is shown first, where it fits
_IMAGENET = 1000  # outputs of the weights that `conf/backbone` downloads


class Subject:
    """Holds a network and makes its students, one for each method that suits it.

    Attributes:
        name: Of the network, or of its file.
        class_names: One for each output.
        methods: Names in `conf/method`, before them `OWN` where the file's method is trained.
            Methods with parameters of their own are left out, which nobody has trained for this
            network, unless there are no others.
        first: The method to begin with.
    """

    def __init__(
        self, name: str, student: SparseBackbone, class_names: tuple[str, ...] | None, saved: bool
    ) -> None:
        """Take a student, whose method is to be shown if it was `saved`."""
        self.name = name
        self.network = student.eval()
        outputs = range(student.num_classes)
        self.class_names = class_names or tuple(f"class {output}" for output in outputs)
        schedule = student.method.schedule
        self._schedule = schedule if schedule.rule else sparsify(student.backbone).method.schedule
        self._students = {OWN: student} if saved else {}
        fitting = {path.stem for path in (CONF / "method").glob("*.yaml") if self._fits(path.stem)}
        ready = {name for name in fitting if not self.is_untrained(name)}
        offered = sorted(ready if saved or len(ready) > 1 else fitting)
        self.methods = ([OWN] if saved else []) + offered
        preferred = [n for n in (OWN, _FIRST, *self.methods) if n in self.methods and n != "dense"]
        self.first = preferred[0]

    @cached_property
    def dense_gmacs(self) -> float:
        """Count the dense network's multiply-accumulates of one image, divided by 1e9."""
        return count_gmacs(self.network.backbone, self.network.input_sides())

    def student(self, method: str) -> SparseBackbone:
        """Return the student of a method in evaluation mode, always the same one.

        Raises:
            InputError: If the method does not suit the network.
        """
        if method not in self._students:
            settings = option("method", method)
            made = attach(self.network.backbone, settings, self._schedule).eval()
            made.preprocessing = self.network.preprocessing
            self._students[method] = made
        return self._students[method]

    def is_untrained(self, method: str) -> bool:
        """Tell whether a method has parameters that nobody has trained for this network."""
        return method != OWN and any(True for _ in self.student(method).method.parameters())

    def _fits(self, method: str) -> bool:
        with suppress(InputError):
            self.student(method)
            return True
        return False


def named_subjects() -> list[str]:
    """Return the names in `conf/backbone` whose weights are embedded, then those timm downloads."""
    names = sorted(path.stem for path in (CONF / "backbone").glob("*.yaml"))
    found = {name: option("backbone", name)["backbone"] for name in names}
    embedded = [name for name, backbone in found.items() if backbone["weights"]]
    downloaded = [name for name, backbone in found.items() if backbone["pretrained"]]
    return [_DEFAULT, *(name for name in embedded + downloaded if name != _DEFAULT)]


def named_subject(name: str, weights: str | Path | None = None) -> Subject:
    """Create the network of a name in `conf/backbone`.

    Args:
        name: Of the backbone.
        weights: A file of weights for it; by default those that are embedded or downloaded.

    Raises:
        InputError: If there is no such name, or no weights.
    """
    backbone = option("backbone", name)["backbone"]
    if weights is None and backbone["weights"]:
        return _embedded(name)
    checkpoint = Checkpoint.read(weights) if weights else None
    classes = checkpoint.num_classes if checkpoint else None
    try:
        student = create_student(
            name, pretrained=checkpoint is None, weights=weights, num_classes=classes
        )
    except InputError as error:
        if checkpoint:
            raise
        raise InputError(
            f"The weights of {name} cannot be downloaded here: choose vit_micro, whose weights are "
            f"embedded, or start tokenthrift app FILE --backbone {name} with weights of your own."
        ) from error
    saved = any(key.startswith("method.") for key in checkpoint.tensors) if checkpoint else False
    shown = name if weights is None else Path(weights).name
    return Subject(shown, student, student.class_names or _imagenet_names(student), saved)


def _embedded(name: str) -> Subject:
    settings = compose_config([f"backbone={name}"], ["backbone", "datamodule"])
    data = instantiate(settings["datamodule"])
    weights = settings["backbone"]["weights"]
    student = create_student(name, weights=weights, num_classes=data.num_classes)
    student.preprocessing = data.preprocessing
    return Subject(name, student, data.class_names, saved=False)


def _imagenet_names(student: SparseBackbone) -> tuple[str, ...] | None:
    if student.num_classes != _IMAGENET:
        return None
    subset = infer_imagenet_subset(student.backbone)
    if not subset:
        return None
    known = ImageNetInfo(subset)
    return tuple(known.index_to_description(i).split(",")[0] for i in range(_IMAGENET))


def file_subject(path: str) -> Subject:
    """Read a student that was saved, or that a training's checkpoint records.

    Raises:
        InputError: If the file is neither, or of another task than classification.
    """
    if is_address(path) or Path(path).suffix == ".safetensors":
        loaded = load(path)
        if isinstance(loaded, WholeNetwork):
            raise InputError(f"{path} has a head for another task: the app shows classification.")
        if loaded.task != CLASSIFICATION:
            raise InputError(f"{path} is of task={loaded.task}: the app shows classification.")
        return Subject(Path(path).name, loaded, loaded.class_names, saved=True)
    checkpoint = Checkpoint.read(path)
    if RUN not in checkpoint.content:
        raise InputError(
            f"{path} does not say of which network it is: add --backbone NAME, as deit_s."
        )
    settings = _recorded(checkpoint)
    student = build_student(
        settings["backbone"],
        settings["method"],
        settings["schedule"],
        checkpoint.num_classes or 0,
        checkpoint=checkpoint,
    )
    return Subject(checkpoint.path.name, student, student.class_names, saved=True)


def _recorded(checkpoint: Checkpoint) -> Settings:
    """Return the settings of backbone, method and schedule that a checkpoint records."""
    from omegaconf import OmegaConf

    choices = recorded_choices(checkpoint)
    if choices["task"] != CLASSIFICATION:
        raise InputError(
            f"{checkpoint.path} is of task={choices['task']}: the app shows classification."
        )
    overrides = [f"{group}={name}" for group, name in choices.items()]
    groups = ["task", "backbone", "method", "schedule", "datamodule", "loss", "optimizer"]
    plain = {"rho": None, "seed": None, "ckpt_path": str(checkpoint.path)}
    config = OmegaConf.create({**plain, **compose_config(overrides, groups)})
    merged = with_recorded_run(config, overrides, checkpoint)
    return {key: plain_settings(merged[key]) for key in ("backbone", "method", "schedule")}
