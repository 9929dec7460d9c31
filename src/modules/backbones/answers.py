"""Answers what timm asks of a network: its classifier, features and groups of parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from timm.models import group_parameters
from timm.optim._param_groups import _layer_map
from torch import Tensor, nn

from .output import SparseOutput
from .timm_parts import Network


class TimmAnswers(nn.Module):
    """Answers as timm's networks do, so that timm's functions take a student for its `backbone`.

    `no_weight_decay` and `group_matcher` are what `timm.optim.create_optimizer_v2` reads.
    """

    backbone: nn.Module
    class_names: tuple[str, ...] | None
    _task: str | None
    head_is_new: bool

    @property
    def _network(self) -> Network:
        return cast(Network, self.backbone)

    @property
    def num_classes(self) -> int:
        """Count the outputs of the classifier, your own too; 0 without one."""
        outputs = _outputs_of(self.get_classifier())
        return int(self._network.num_classes) if outputs is None else outputs

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """Return what timm says of the network and its weights, preprocessing included.

        It is empty for a network that was not made by `timm.create_model`.
        """
        return dict(getattr(self._network, "pretrained_cfg", None) or {})

    @property
    def default_cfg(self) -> dict[str, Any]:
        """Return the same as `pretrained_cfg`, by its older name."""
        return self.pretrained_cfg

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier by a new one for `num_classes`; 0 removes it."""
        self._network.reset_classifier(num_classes)
        self.class_names, self._task = None, None
        self.head_is_new = num_classes > 0

    def get_classifier(self) -> nn.Module:
        """Return the network's classifier."""
        return self._network.get_classifier()

    def forward_features(self, images: Tensor) -> Tensor:
        """Return normed features `(B, N, C)` of the patches that are left of `images`."""
        output: SparseOutput = self(images)
        return output.features

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute blocks anew in the backward pass, which saves memory, as timm's networks do."""
        self._network.set_grad_checkpointing(enable)

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters that the network exempts from weight decay."""
        exempt: set[str] = getattr(self.backbone, "no_weight_decay", set)()
        return {f"backbone.{name}" for name in exempt}

    def group_matcher(self, coarse: bool = False) -> Callable[[str], tuple[float, ...]]:
        """Return what gives the layer of a parameter by its name, as timm's layer decay asks.

        A method's parameters, which are new, are in the classifier's. Where the network does not
        group its parameters, timm's twelve at a time are a layer.

        Args:
            coarse: Whether the network groups stages instead of blocks.
        """
        if hasattr(self.backbone, "group_matcher"):
            matcher = self._network.group_matcher(coarse=coarse)
            layers = group_parameters(self.backbone, matcher, reverse=True)
        else:
            layers = _layer_map(self.backbone)
        last = max(layers.values())

        def layer_of(name: str) -> tuple[float, ...]:
            part, _, own = name.partition(".")
            return (float(layers[own] if part == "backbone" else last),)

        return layer_of


def _outputs_of(classifier: object) -> int | None:
    """Return how many outputs a classifier has; None where it does not say."""
    if isinstance(classifier, nn.Identity):
        return 0
    if isinstance(classifier, (tuple, nn.Sequential)):
        return next(filter(None, map(_outputs_of, reversed(tuple(classifier)))), None)
    outputs = getattr(classifier, "out_features", None)
    return outputs if isinstance(outputs, int) else None
