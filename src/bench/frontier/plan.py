"""Lists what is compared: methods at each ratio, and trained students."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ...config import Settings, plain_settings
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
        settings: All that its predictions depend on besides the network and the images.
        make: Builds the student around the dense network, whose weights all methods share.
    """

    method: str
    rho: float | None
    settings: Settings
    make: Callable[[], SparseBackbone]

    @property
    def name(self) -> str:
        """Return the name of its folder, which is its name in messages too."""
        return cell_name(self.method, self.rho)


def cell_name(method: str, rho: float | None) -> str:
    """Return the name of a student's folder."""
    return method.replace(" ", "_") + ("" if rho is None else f"_rho{rho:g}")


def plan_cells(config: DictConfig, network: nn.Module) -> list[Cell]:
    """Return what `methods`, `ratios` and `checkpoints` of `conf/frontier.yaml` ask for.

    Raises:
        InputError: If they ask for nothing, or a method does not exist.
    """
    names = method_names()
    for name in config.methods or ():
        if str(name) not in names:
            raise InputError(f"methods has {str(name)!r}, which is not one of {', '.join(names)}.")
    plans = {float(ratio): _schedule(config, ratio) for ratio in config.ratios}
    cells: list[Cell] = []
    if plans and config.methods is None:
        cells += _without_training(config, network, names, plans)
    elif plans:
        for name in dict.fromkeys(str(name) for name in config.methods if name != DENSE):
            settings = _method(config, name)
            try:
                made = attach(network, settings, next(iter(plans.values()))).method
            except InputError:  # a row of the table will say why
                ignores_rho = True
            else:
                ignores_rho = bool(made.ignores_rho)
            cells += _at_each_ratio(network, name, settings, plans, ignores_rho)
    cells += _numbered([_trained(str(path)) for path in config.checkpoints])
    if not cells:
        raise InputError(
            "No method fits this network untrained: give trained students as "
            f"checkpoints=[FILE], or choose from methods=[...] ({some(names)})."
        )
    return cells


def _without_training(
    config: DictConfig, network: nn.Module, names: Sequence[str], plans: dict[float, Settings]
) -> Iterator[Cell]:
    """Yield the cells of all methods that fit the network and need no training."""
    refused = []
    for name in names:
        if name == DENSE:
            continue
        settings = _method(config, name)
        try:
            method = attach(network, settings, next(iter(plans.values()))).method
        except InputError:
            refused.append(name)
            continue
        if not method.needs_training:
            yield from _at_each_ratio(network, name, settings, plans, bool(method.ignores_rho))
    if refused:
        log.info(f"These methods do not fit this network and are left out: {', '.join(refused)}.")


def _numbered(cells: Sequence[Cell]) -> Iterator[Cell]:
    """Yield `cells`, with a number behind the name of the second, third, ... of the same name."""
    times: Counter[str] = Counter()
    for cell in cells:
        times[cell.name] += 1
        number = times[cell.name]
        yield cell if number == 1 else replace(cell, method=f"{cell.method} {number}")


def method_names() -> list[str]:
    """Return the options of the group `method` on Hydra's search path."""
    return sorted(GlobalHydra.instance().config_loader().get_group_options("method"))


def _method(config: DictConfig, name: str) -> Settings:
    """Return the resolved settings of a method, from anywhere on Hydra's search path."""
    for source in GlobalHydra.instance().config_loader().get_sources():
        if source.is_config(f"method/{name}"):
            found = source.load_config(f"method/{name}").config
            break
    else:
        raise InputError(f"method={name} has no file on Hydra's search path.")
    merged = config.copy()
    OmegaConf.set_struct(merged, False)
    merged.method = found
    settings = plain_settings(merged.method)
    settings.pop("defaults", None)
    return settings


def _schedule(config: DictConfig, ratio: float) -> Settings:
    merged = config.copy()
    merged.rho = float(ratio)
    return plain_settings(merged.schedule)


def _at_each_ratio(
    network: nn.Module,
    name: str,
    settings: Settings,
    plans: dict[float, Settings],
    ignores_rho: bool,
) -> Iterator[Cell]:
    """Yield a cell for each ratio; one where the method or the schedule ignores the ratio."""
    once = ignores_rho or (len(plans) > 1 and len({str(plan) for plan in plans.values()}) == 1)
    for ratio, plan in plans.items():
        yield Cell(
            name,
            None if once else ratio,
            {"method": settings, "schedule": plan},
            partial(attach, network, settings, plan),
        )
        if once:
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
            f"checkpoints has {path}, which is not a student: give a .ckpt of a training."
        )
    chosen: Sequence[str] = [word for word in words if word.startswith("method=")]
    name = chosen[0].partition("=")[2] if chosen else student.method.name
    file = Path(path).expanduser()
    settings = {"checkpoint": path, "modified": file.stat().st_mtime if file.exists() else None}
    return Cell(f"{name} trained", student.method.schedule.rho, settings, lambda: student)
