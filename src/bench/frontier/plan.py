"""Lists what is compared: methods at each ratio, and trained students."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ...config import Settings
from ...errors import InputError, some
from ...modules.backbones.base import SparseBackbone
from ...modules.student import attach
from ...reports.points import DENSE
from ...runs.predictors import open_predictor
from ...runs.record import add_recorded_choices
from ...shell.arguments import for_hydra
from ...shell.program import sentences_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cell:
    """Describes one student that is compared with the dense network.

    Attributes:
        method: Its name in the table.
        rho: Base keep ratio; None where the method ignores it.
        settings: All that its predictions depend on beside the network and the images.
        make: Builds the student.
    """

    method: str
    rho: float | None
    settings: dict[str, Any]
    make: Callable[[], SparseBackbone]

    @property
    def name(self) -> str:
        """Return the name of its folder, and of it in messages."""
        return cell_name(self.method, self.rho)


def cell_name(method: str, rho: float | None) -> str:
    """Return the name of a student's folder."""
    return method.replace(" ", "_") + ("" if rho is None else f"_rho{rho:g}")


def plan_cells(config: DictConfig, network: nn.Module) -> list[Cell]:
    """Return what `methods`, `ratios` and `checkpoints` of `conf/frontier.yaml` ask for.

    Raises:
        InputError: If that is nothing, or a method does not exist.
    """
    names = method_names()
    chosen = None if config.methods is None else [str(name) for name in config.methods]
    for name in chosen or ():
        if name not in names:
            raise InputError(f"methods has {name!r}, which is none of {', '.join(names)}.")
    plans = {float(ratio): _schedule(config, ratio) for ratio in config.ratios}
    first = next(iter(plans.values()), None)
    cells: list[Cell] = []
    refused = []
    for name in names if chosen is None else chosen:
        settings = _method(config, name)
        if first is None or (chosen is None and name == DENSE):
            continue
        try:
            made = attach(network, settings, first).method
        except InputError:
            made = None
        if made is None and chosen is None:
            refused.append(name)
        if chosen is not None or (made is not None and not made.needs_training):
            same = made is None or bool(made.ignores_rho)
            cells += _at_each_ratio(network, name, settings, plans, same)
    if refused:
        log.info(f"These methods do not fit this network and are left out: {', '.join(refused)}.")
    for path in config.checkpoints:
        cell = _trained(str(path))
        again = sum(other.name.startswith(cell.name) for other in cells)
        cells.append(replace(cell, method=f"{cell.method} {again + 1}") if again else cell)
    if not cells:
        raise InputError(
            "No method fits this network without a training: give trained students as "
            f"checkpoints=[FILE], or choose of methods=[...] ({some(names)})."
        )
    return cells


def method_names() -> list[str]:
    """Return the options of the group `method` on Hydra's search path."""
    return sorted(GlobalHydra.instance().config_loader().get_group_options("method"))


def _method(config: DictConfig, name: str) -> Settings:
    """Return the settings of a method, resolved, wherever on Hydra's search path it lies."""
    for source in GlobalHydra.instance().config_loader().get_sources():
        if source.is_config(f"method/{name}"):
            found = source.load_config(f"method/{name}").config
            break
    else:
        raise InputError(f"method={name} has no file on Hydra's search path.")
    merged = config.copy()
    OmegaConf.set_struct(merged, False)
    merged.method = found
    settings: Any = OmegaConf.to_container(merged.method, resolve=True)
    settings.pop("defaults", None)
    return dict(settings)


def _schedule(config: DictConfig, ratio: float) -> Settings:
    merged = config.copy()
    merged.rho = float(ratio)
    settings: Any = OmegaConf.to_container(merged.schedule, resolve=True)
    return dict(settings)


def _at_each_ratio(
    network: nn.Module,
    name: str,
    settings: Settings,
    plans: dict[float, Settings],
    same: bool,
) -> Iterator[Cell]:
    """Yield a cell for each ratio; one where the `same` comes of all, or all plans are one."""
    same = same or (len(plans) > 1 and len({str(plan) for plan in plans.values()}) == 1)
    for ratio, plan in plans.items():
        yield Cell(
            name,
            None if same else ratio,
            {"method": settings, "schedule": plan},
            lambda plan=plan: attach(network, settings, plan),  # type: ignore[misc]
        )
        if same:
            return


def _trained(path: str) -> Cell:
    """Return the cell of a trained student, at the ratio that it was trained with.

    Raises:
        InputError: If there is no such student.
    """
    words = for_hydra(add_recorded_choices([f"ckpt_path={path}"]))
    config = compose("predict", overrides=words)
    try:
        network = open_predictor(config, [], "classification").network
    except InputError as error:
        raise InputError(f"checkpoints: {' '.join(sentences_of(error))}") from error
    student = getattr(network, "student", network)
    if not isinstance(student, SparseBackbone):
        raise InputError(
            f"checkpoints has {path}, which is no student: give a .ckpt of a training."
        )
    chosen: Sequence[str] = [word for word in words if word.startswith("method=")]
    name = chosen[0].partition("=")[2] if chosen else student.method.name
    settings = {"checkpoint": path, "modified": Path(path).stat().st_mtime}
    return Cell(f"{name} trained", student.method.schedule.rho, settings, lambda: student)
