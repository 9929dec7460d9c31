"""Makes the timm network that computes the same as a model of transformers.

Tested with transformers 5.24, which is not imported: models are recognized by their class.
"""

from __future__ import annotations

import importlib
import pkgutil

from torch import nn

from ...errors import InputError
from . import families
from .carrying import Maker

_LIBRARY = "transformers"


def is_of_transformers(network: nn.Module) -> bool:
    """Return whether `network` is a model of transformers, or of a subclass of one."""
    return bool(_class_names(network))


def timm_twin(model: nn.Module, image_size: int | None = None) -> nn.Module:
    """Return a timm network with a copy of the weights of a transformers model.

    Its output is the model's logits if it has a classifier, the projected embedding of
    `CLIPModel` and `CLIPVisionModelWithProjection`, the pooled output of other towers of CLIP,
    DINOv2 and SigLIP, and the normed class token of `ViTModel` and `DeiTModel`, whose pooler is
    left out. Dropout is left out too. Device, precision and mode are the model's.

    Args:
        model: A ViT, DeiT, DINOv2 (also with registers), CLIP or SigLIP (also v2 at a fixed size).
        image_size: Side of the input in pixels; the configuration's by default. For another one
            positions are interpolated by the model itself.

    Raises:
        InputError: If there is no twin of such a model.
    """
    makers = _makers()
    names = _class_names(model)
    maker = next((makers[name] for name in names if name in makers), None)
    if maker is None:
        raise InputError(
            f"{type(model).__name__} has no twin among timm's networks that is known here: give "
            f"a {', '.join(sorted(makers))} of transformers, or a timm network."
        )
    network = maker(model, image_size)
    weight = next(model.parameters())
    return network.to(weight.device, weight.dtype).train(model.training)


def _class_names(network: nn.Module) -> list[str]:
    kinds = type(network).__mro__
    return [kind.__name__ for kind in kinds if kind.__module__.partition(".")[0] == _LIBRARY]


def _makers() -> dict[str, Maker]:
    made: dict[str, Maker] = {}
    for module in pkgutil.iter_modules(families.__path__):
        made |= importlib.import_module(f"{families.__name__}.{module.name}").TWINS
    return made
