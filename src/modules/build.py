"""From names and plain dictionaries to objects: networks, methods, schedules, students."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import hydra.utils
import timm
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ..errors import InputError, one_sentence
from .backbones import SparseBackbone, family_of, family_of_class
from .checkpoints import classes_in, load_weights, read_file
from .methods.base import Method
from .weighted_loss import WeightedLoss

log = logging.getLogger(__name__)

_PACKAGE = __name__.split(".")[0]
# Through these timm would read weights by itself.
_READING = {"checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay"}
_RATIOS = "(0.7, 0.49, 0.343)"
_ROOT = Path(__file__).resolve().parents[1]
# The wheel carries the configuration inside the package, a checkout beside it.
CONF = _ROOT / "conf" if (_ROOT / "conf").is_dir() else _ROOT.parent / "conf"


def instantiate(config: dict[str, Any], **arguments: Any) -> Any:
    """Call what `config["_target_"]` names with the other entries; `src.` leads to this package.

    Entries that have a `_target_` themselves are built first, unless `_recursive_` is false; with
    `_partial_` the call waits for further arguments.
    Hydra's own function of this name would wrap arguments in its containers and errors in its own.

    Raises:
        InputError: If there is no such target, or a library's refuses these settings.
    """
    if "_target_" not in config:
        raise InputError(f"The settings {config} lack _target_, the class to make of them.")
    options = {key: value for key, value in config.items() if not key.startswith("_")}
    if config.get("_recursive_", True):
        options = {key: _built(value) for key, value in options.items()}
    target: str = config["_target_"]
    own = target.startswith("src.")
    made = locate(config)
    if config.get("_partial_"):
        return partial(made, **options | arguments)
    try:
        return made(**options | arguments)
    except InputError:
        raise
    except Exception as error:
        reason = str(error)
        strange = re.search(r"got an unexpected keyword argument '(\w+)'", reason)
        if strange and strange[1] in options:
            raise InputError(f"{target} has no setting {strange[1]}.") from error
        if own:
            raise
        named = [f"{k}={v}" for k, v in options.items() if k in reason or f"{v}" in reason.split()]
        refused = ", ".join(named) or "its settings"
        raise InputError(f"{target} refuses {refused}: {one_sentence(reason)}") from error


def locate(config: dict[str, Any]) -> Any:
    """Return what `config["_target_"]` names, without calling it.

    Raises:
        InputError: If there is no such target.
    """
    target: str = config["_target_"]
    own = target.startswith("src.")
    try:
        return hydra.utils.get_object(_PACKAGE + target.removeprefix("src") if own else target)
    except (ImportError, ValueError) as error:
        raise InputError(
            f"_target_={target} cannot be imported: {one_sentence(str(error))}"
        ) from error


def _built(value: Any) -> Any:
    if isinstance(value, dict) and "_target_" in value:
        return instantiate(value)
    if isinstance(value, list):
        return [_built(item) for item in value]
    return value


def build_network(
    backbone: dict[str, Any], num_classes: int, pretrained: bool, any_size: bool = False
) -> Any:
    """The timm network that `conf/backbone/*.yaml` describes.

    Args:
        backbone: As in `conf/backbone`; `image_size` is the one that its weights were made for.
        num_classes: Outputs; 0 for a network without a classifier.
        pretrained: Download timm's weights.
        any_size: Make it take images of any size.

    Raises:
        InputError: If timm does not know it, or its weights cannot be downloaded.
    """
    name, options = backbone["network"], dict(backbone.get("options") or {})
    if not timm.is_model(name):
        raise InputError(f"backbone.network={name!r} is not a network that timm knows.")
    reading = sorted(_READING & options.keys())
    if reading:
        raise InputError(
            f"backbone.options.{reading[0]} would have timm read weights from elsewhere: give "
            "backbone.weights=FILE instead."
        )
    # Networks without positions in their weights (ConvNeXt) take any size and are not told it.
    if backbone.get("image_size") and timm.get_pretrained_cfg_value(name, "fixed_input_size"):
        options["img_size"] = backbone["image_size"]
    try:
        if any_size:
            with torch.device("meta"):
                kind = type(timm.create_model(name, num_classes=num_classes, **options))
            options |= family_of_class(kind).any_size
        network = timm.create_model(name, pretrained=pretrained, num_classes=num_classes, **options)
        _check_margin(network, name, options.get("img_size"))
        return network
    except InputError:
        raise
    except (TypeError, AssertionError) as error:
        reason = one_sentence(str(error) or "a check of timm's fails")
        raise InputError(f"backbone.options={options} do not suit {name}: {reason}") from error
    except Exception as error:  # whatever the hub's client raises without a connection
        if not pretrained:
            raise
        raise InputError(
            f"The pretrained weights of {name} cannot be downloaded ({type(error).__name__}): give "
            "backbone.weights=FILE, or backbone.pretrained=false to start from random weights."
        ) from error


def _check_margin(network: nn.Module, name: str, size: Any) -> None:
    """Refuse an image size whose margin patches would leave out, unless it is timm's own."""
    margin = family_of_class(type(network)).margin(network)
    own = timm.get_pretrained_cfg_value(name, "input_size")
    if margin and (not own or size != own[-1]):
        side, patch = margin
        near = [n for n in (side // patch * patch, (side // patch + 1) * patch) if n]
        raise InputError(
            f"backbone.image_size={side} is not a multiple of the patch size {patch}: choose "
            f"{' or '.join(map(str, near))}."
        )


def build_student(
    backbone: dict[str, Any],
    method: dict[str, Any] | None,
    schedule: dict[str, Any],
    num_classes: int,
    any_size: bool = False,
) -> SparseBackbone:
    """A student with the weights that `backbone` asks for and a head for `num_classes`.

    Without a `method` it has the papers' for such a network.

    A file for another number of classes is loaded whole; then its head is replaced by a new one,
    or dropped where `num_classes` is 0. `any_size` is `build_network`'s.
    """
    file = backbone.get("weights")
    stored = classes_in(read_file(file), file) if file else None
    pretrained = bool(backbone.get("pretrained")) and not file
    network = build_network(backbone, stored or num_classes, pretrained, any_size)
    _warn_of_margin(network)
    student = attach(network, method, schedule)
    if file:
        log.info(load_weights(student, file))
    if stored and stored != num_classes:
        network.reset_classifier(num_classes)
    if stored and stored != num_classes > 0:
        log.warning(f"{file} is for {stored} classes: the head for {num_classes} is new.")
    return student


def attach(
    network: nn.Module, method: dict[str, Any] | None, schedule: dict[str, Any]
) -> SparseBackbone:
    """Put a method beside `network`, on its device and in its precision; None: the papers'.

    Warns of a schedule that drops something at rho=1.
    """
    family = family_of(network)
    if method is None:
        method = compose_config([f"method={family.natural_method}"], ["method"])["method"]
    made = instantiate(method, schedule=instantiate(schedule), geometry=family.geometry(network))
    student = family(network, _placed(made, network))
    ratios = student.method.schedule.ratios
    if schedule.get("rho") == 1 and min(ratios, default=1) < 1:
        log.warning(
            f"rho=1 is not dense under this schedule, which keeps "
            f"{', '.join(f'{ratio:.4g}' for ratio in ratios)}: choose method=dense for the dense "
            "network, or schedule=geometric, which keeps everything at rho=1."
        )
    return student


def _placed(method: Method, network: nn.Module) -> Method:
    """`method` on the device of `network`'s first parameter, in its first floating dtype."""
    weights = list(network.parameters())
    dtype = next((weight.dtype for weight in weights if weight.is_floating_point()), None)
    return method.to(weights[0].device, dtype) if weights else method


def _warn_of_margin(network: nn.Module) -> None:
    if margin := family_of_class(type(network)).margin(network):
        side, patch = margin
        log.warning(
            f"img_size={side} leaves a margin of {side % patch} pixels to patches of {patch}, "
            "which is dropped, as by timm."
        )


def build_loss(loss: dict[str, dict[str, Any]]) -> WeightedLoss:
    """The named terms of `conf/loss/*.yaml`, each a target with a weight."""
    loss = {name: term for name, term in loss.items() if term}  # null switches a term off
    terms = {
        name: instantiate({key: value for key, value in term.items() if key != "weight"})
        for name, term in loss.items()
    }
    return WeightedLoss(terms, {name: term["weight"] for name, term in loss.items()})


def compose_config(overrides: Sequence[str], keys: Sequence[str]) -> dict[str, Any]:
    """The parts `keys` of `conf/train.yaml` as plain dictionaries, under command-line overrides.

    Works inside a Hydra application too, whose global state is put aside meanwhile.
    """
    config = _composed(tuple(overrides))
    return {key: OmegaConf.to_container(config[key], resolve=True) for key in keys}


@cache
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    """Compose once; it takes a quarter of a second."""
    state = GlobalHydra.instance()
    running, state.hydra = state.hydra, None
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("train", overrides=list(overrides))
    except ConfigCompositionException as error:
        raise InputError(one_sentence(str(error))) from error
    finally:
        state.hydra = running


def create_student(
    name: str,
    *,
    rho: float | None = None,
    ratios: Sequence[float] | None = None,
    locations: Sequence[int] | None = None,
    schedule: str | None = None,
    method: str | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
    pretrained: bool = False,
    weights: str | Path | None = None,
) -> SparseBackbone:
    """A student by the name of its yaml in `conf/backbone`.

    Args:
        name: As `"deit_s"`.
        rho: Base keep ratio in (0, 1], 0.7 by default. At 1 `geometric`, `linear` and `constant`
            keep everything; `arithmetic`, the hierarchical networks', keeps 1, 0.8, 0.6.
        ratios: Explicit keep ratios, one for each location, instead of rho and schedule.
        locations: Blocks before which tokens are dropped; the backbone's own by default.
        schedule: Name in `conf/schedule`; the backbone's own by default.
        method: Name in `conf/method`; by default the papers' for such a network.
        num_classes: Outputs; the network's own number by default.
        image_size: Side of the input in pixels; the network's own by default.
        pretrained: Download timm's weights of the dense network.
        weights: A file for `load_weights`.

    Raises:
        InputError: One sentence on what does not fit.
    """
    overrides = [f"backbone={_known('backbone', name)}"]
    schedule = _schedule_name(rho, ratios, schedule)
    for group, choice in (("schedule", schedule), ("method", method)):
        if choice is not None:
            overrides.append(f"{group}={_known(group, choice)}")
    config = compose_config(overrides, ("backbone", "method", "schedule"))
    backbone = config["backbone"] | {"pretrained": pretrained, "weights": weights}
    if image_size is not None:
        backbone["image_size"] = image_size
    plan = _plan(config["schedule"], rho, ratios, locations)
    if num_classes is None:
        own = timm.get_pretrained_cfg_value(backbone["network"], "num_classes")
        num_classes = int(own or 1000)
    own_method = None if method is None else config["method"]
    return build_student(backbone, own_method, plan, num_classes)


def sparsify(
    network: nn.Module,
    *,
    rho: float | None = None,
    ratios: Sequence[float] | None = None,
    locations: Sequence[int] | None = None,
    schedule: str | None = None,
    method: str | None = None,
) -> SparseBackbone:
    """A student around a timm network that you already have; its weights are used as they are.

    Args:
        network: A timm VisionTransformer, Eva, SwinTransformer (V1 or V2) or ConvNeXt, or an LVViT.
        rho: Base keep ratio in (0, 1], 0.7 by default. At 1 `geometric`, `linear` and `constant`
            keep everything; `arithmetic`, the hierarchical networks', keeps 1, 0.8, 0.6.
        ratios: Explicit keep ratios, one for each location, instead of rho and schedule.
        locations: Blocks before (in a hierarchical network's third stage: in) which decisions are
            taken; by default the papers': after each quarter, or early in the third stage.
        schedule: Name in `conf/schedule`; by default the papers' for such a network.
        method: Name in `conf/method`; by default the papers' for such a network.

    Raises:
        InputError: One sentence on what does not fit.
    """
    family = family_of(network)
    schedule = _schedule_name(rho, ratios, schedule) or family.natural_schedule
    method = method or family.natural_method
    overrides = [f"method={_known('method', method)}", f"schedule={_known('schedule', schedule)}"]
    config = compose_config(overrides, ("method", "schedule"))
    if locations is None:
        count = 3 if ratios is None else len(_listed("ratios", ratios, _RATIOS))
        locations = family.natural_locations(family.geometry(network).depth, count)
    _warn_of_margin(network)
    return attach(network, config["method"], _plan(config["schedule"], rho, ratios, locations))


def _schedule_name(
    rho: float | None, ratios: Sequence[float] | None, schedule: str | None
) -> str | None:
    """The schedule that these arguments choose, None for the network's own."""
    if ratios is None:
        return schedule
    if rho is not None:
        raise InputError(
            f"rho={rho!r} and ratios={ratios!r} both say how many tokens stay: give one of them."
        )
    if schedule not in (None, "explicit"):
        raise InputError(
            f"schedule={schedule!r} and ratios={ratios!r} both say how many tokens stay: leave the "
            "schedule out, or give rho instead of ratios."
        )
    return "explicit"


def _plan(
    schedule: dict[str, Any],
    rho: float | None,
    ratios: Sequence[float] | None,
    locations: Sequence[int] | None,
) -> dict[str, Any]:
    if ratios is not None:
        given: dict[str, Any] = {"ratios": _listed("ratios", ratios, _RATIOS)}
    elif "rho" in schedule:
        given = {"rho": 0.7 if rho is None else rho}
    else:
        raise InputError(f"schedule='explicit' has no ratios: give them, as ratios={_RATIOS}.")
    if locations is not None:
        given["locations"] = _listed("locations", locations, "(3, 6, 9)")
    return schedule | given


def _listed(name: str, values: Any, example: str) -> list[Any]:
    if not isinstance(values, Iterable) or isinstance(values, str):
        raise InputError(f"{name}={values!r} must be a list of numbers, as {example}.")
    return list(values)


def _known(group: str, name: str) -> str:
    names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    if name not in names:
        raise InputError(f"{group}={name!r} does not exist: choose one of {', '.join(names)}.")
    return name
