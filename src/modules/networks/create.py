"""Creates timm networks as `conf/backbone/*.yaml` describes them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
from torch import nn

from ...config import Settings
from ...errors import InputError, one_sentence
from ...ranges import Allowed, Anything, ExistingFile, Kind, Number, Replaced
from ..backbones import family_of_class

log = logging.getLogger(__name__)

# All settings of `conf/backbone`: they are read one by one, and others would not be noticed.
SETTINGS: Mapping[str, Allowed] = {
    "network": Kind(str, "a name that timm knows, as deit_small_patch16_224.fb_in1k"),
    "locations": Anything(),
    "image_size": Number(224, least=1, whole=True),
    "num_frames": Number(16, least=1, whole=True),
    "pretrained": Kind(bool, "true or false"),
    "weights": ExistingFile("a checkpoint"),
    "options": Anything(),
}
REPLACED = {"pretrained": Replaced("backbone.weights", "backbone.weights is loaded instead")}
BOUNDED_BY_WEIGHTS = ("options",)  # no size in them exceeds the largest side of the weights
IMAGE_SIDES = ("image_size", "img_size")  # settings in pixels, wherever they stand
# Options by which timm would read weights itself.
_READING = {"checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay"}


def build_network(
    backbone: Settings, num_classes: int, pretrained: bool, any_size: bool = False
) -> Any:
    """Build the timm network that a yaml in `conf/backbone` describes; `made_with` has its options.

    Args:
        backbone: As in `conf/backbone`; `image_size` and, for clips, `num_frames` are those that
            its weights were made for.
        num_classes: Outputs; 0 for a network without a classifier.
        pretrained: Download timm's weights.
        any_size: Make it accept images of any size.

    Raises:
        InputError: If timm cannot build it, or its weights cannot be downloaded.
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
    size, overlay = backbone.get("image_size"), None
    if size and timm.get_pretrained_cfg_value(name, "fixed_input_size"):
        options["img_size"] = size
    elif size:  # ConvNeXt and others without positions take any size and no such argument
        overlay = {"input_size": _input_size(name, size)}
    if backbone.get("num_frames"):  # of a clip
        options["num_frames"] = backbone["num_frames"]
    try:
        if any_size:
            with torch.device("meta"):
                kind = type(timm.create_model(name, num_classes=num_classes, **options))
            options |= _any_size(kind)
        network: Any = timm.create_model(
            name,
            pretrained=pretrained,
            pretrained_cfg_overlay=overlay,
            num_classes=num_classes,
            **options,
        )
        _check_margin(network, name, options.get("img_size"))
        network.made_with = options
        return network
    except InputError:
        raise
    except (TypeError, AssertionError) as error:
        reason = one_sentence(str(error) or "a check in timm fails")
        raise InputError(f"backbone.options={options} do not suit {name}: {reason}") from error
    except Exception as error:  # the hub's client raises many kinds without a connection
        if not pretrained:
            raise
        raise InputError(
            f"The pretrained weights of {name} cannot be downloaded ({type(error).__name__}): give "
            "backbone.weights=FILE, or backbone.pretrained=false to start from random weights."
        ) from error


def _input_size(name: str, size: int | Sequence[int]) -> tuple[int, ...]:
    """Return timm's `input_size` of a network for images of `size`: channels, height and width."""
    channels = (timm.get_pretrained_cfg_value(name, "input_size") or (3,))[0]
    return (channels, *(size if isinstance(size, Sequence) else (size, size)))


def _any_size(kind: type[nn.Module]) -> dict[str, bool]:
    options = family_of_class(kind).any_size
    if options is None:
        raise InputError(
            f"{kind.__name__} takes images of one size alone, but this task has images of any "
            "size: choose a backbone whose positions can be resampled, as backbone=deit_s."
        )
    return options


def _check_margin(network: nn.Module, name: str, size: object) -> None:
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


def own_classes(network: str) -> int:
    """Return the number of classes of timm's weights of a network; 1000 where it has none."""
    return int(timm.get_pretrained_cfg_value(network, "num_classes") or 1000)


def warn_of_margin(network: nn.Module) -> None:
    """Warn of pixels at the image's border that no patch covers."""
    if margin := family_of_class(type(network)).margin(network):
        side, patch = margin
        log.warning(
            f"img_size={side} is not a multiple of the patch size {patch}: a margin of "
            f"{side % patch} pixels is ignored, as by timm."
        )
