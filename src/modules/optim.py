"""Builds parameter groups, the optimizer and the learning-rate schedule."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypedDict

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from typing_extensions import override

from ..config import Settings, instantiate, locate
from ..ranges import Number
from .backbones.base import SparseBackbone

log = logging.getLogger(__name__)

# Settings of `conf/optimizer` that are ours and not the optimizer class's.
RANGES = {
    "lr": Number(1e-3, above=0),
    "reference_batch": Number(1024, least=1, whole=True),
    "backbone_lr_scale": Number(0.01, least=0),
    "min_lr": Number(1e-6, least=0),
    "warmup_epochs": Number(5, least=0),
    "weight_decay": Number(0.05, least=0),
}
_OWN = (*RANGES, "lr_schedule")


class ParameterGroup(TypedDict):
    """Holds parameters that share a learning rate and a weight decay; `name` shows up in logs."""

    params: list[nn.Parameter]
    lr: float
    weight_decay: float
    name: str


class LearningRates(LambdaLR):
    """Sets the groups' learning rates by step, also in a training that is resumed.

    The settings of the resumed training win over those in the checkpoint, which PyTorch restores
    with an optimizer's state. Where an epoch has another number of steps than it had, as with
    another batch size, the rates go on at the same epoch.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factors: Sequence[Callable[[int], float]],
        settings: Sequence[str],
        steps_per_epoch: float,
    ) -> None:
        """Start at the first step.

        Args:
            optimizer: With the peak rate of each group.
            factors: On the peak rate of each group, by step.
            settings: Names of the groups' settings that a resumed training does not restore.
            steps_per_epoch: Optimizer steps of an epoch.
        """
        groups = optimizer.param_groups
        self._own = [{name: group[name] for name in settings if name in group} for group in groups]
        self.steps_per_epoch = steps_per_epoch
        super().__init__(optimizer, list(factors))

    @override
    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = super().state_dict()
        del state["_own"]
        return state

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        steps = self.steps_per_epoch
        super().load_state_dict(state_dict)
        before, self.steps_per_epoch = self.steps_per_epoch, steps
        if before != steps:
            self.last_epoch = round(self.last_epoch * steps / before)
        self.base_lrs = [own["lr"] for own in self._own]
        factors = [factor(self.last_epoch) for factor in self.lr_lambdas]
        rates = [peak * factor for peak, factor in zip(self.base_lrs, factors, strict=True)]
        for group, own, rate in zip(self.optimizer.param_groups, self._own, rates, strict=True):
            group.update(own | {"initial_lr": own["lr"], "lr": rate})
        self._last_lr = rates


def build_optimizer(options: Settings, groups: list[ParameterGroup]) -> Optimizer:
    """Build the optimizer that `conf/optimizer` names, for parameter groups.

    Raises:
        InputError: If its class refuses the settings.
    """
    optimizer: Optimizer = instantiate(_of_class(options), params=groups)
    return optimizer


def build_lr_schedule(
    optimizer: Optimizer,
    options: Settings,
    groups: list[ParameterGroup],
    steps: int,
    steps_per_epoch: float,
) -> LearningRates:
    """Build the learning-rate schedule, by step, that `conf/optimizer` names.

    Warns if the warm-up is longer than a third of the training, to which it is then cut.

    Args:
        optimizer: Over `groups`.
        options: As in `conf/optimizer`.
        groups: Parameter groups, each with its peak rate.
        steps: Optimizer steps of the training.
        steps_per_epoch: Optimizer steps of an epoch.
    """
    asked, longest = int(options["warmup_epochs"] * steps_per_epoch), steps // 3
    if asked > longest:
        log.warning(
            f"optimizer.warmup_epochs={options['warmup_epochs']} is cut to a third of the "
            f"training: {longest} of {steps} steps."
        )
    warmup = min(asked, longest)
    course = instantiate(options["lr_schedule"])
    factors = [course(group["lr"], options["min_lr"], warmup, steps) for group in groups]
    settings = ("lr", "weight_decay", *_of_class(options))
    return LearningRates(optimizer, factors, settings, steps_per_epoch)


def _of_class(options: Settings) -> Settings:
    """Return the settings of the optimizer's class, `_target_` included."""
    return {key: value for key, value in options.items() if key not in _OWN}


def known_settings(options: Settings) -> set[str]:
    """Return the settings that a yaml in `conf/optimizer` may have: ours and its class's."""
    own_to_class = set(inspect.signature(locate(options)).parameters) - {"params"}
    return {"_target_", *_OWN, *own_to_class}


def parameter_groups(
    student: SparseBackbone,
    lr: float,
    backbone_lr_scale: float,
    weight_decay: float,
    others: Mapping[str, nn.Module | None] = MappingProxyType({}),
) -> list[ParameterGroup]:
    """Group the backbone's parameters at `lr * backbone_lr_scale`, all others at `lr`.

    Biases, norms and what the network itself exempts are not decayed. (The released code left
    class token and position embedding out of the optimizer altogether.)

    Args:
        student: Whose parameters are grouped.
        lr: Peak learning rate.
        backbone_lr_scale: Factor on it for the backbone.
        weight_decay: Weight decay of parameters that are decayed.
        others: Further trained modules, by the names of their groups.
    """
    exempt: set[str] = getattr(student.backbone, "no_weight_decay", set)()
    groups: dict[str, ParameterGroup] = {}
    # Frozen parameters too: timm's own grouping leaves them out, and they may thaw later.
    parts = [
        ("backbone", student.backbone, lr * backbone_lr_scale),
        ("method", student.method, lr),
    ]
    parts += [(name, module, lr) for name, module in others.items() if module is not None]
    for part, module, rate in parts:
        for name, parameter in module.named_parameters():
            leaf = name.rpartition(".")[2]
            decays = parameter.ndim > 1 and leaf != "bias" and not {name, leaf} & exempt
            kind = f"{part}/{'decay' if decays else 'no_decay'}"
            if kind not in groups:
                decay = weight_decay if decays else 0.0
                groups[kind] = {"params": [], "lr": rate, "weight_decay": decay, "name": kind}
            groups[kind]["params"].append(parameter)
    return list(groups.values())


def scaled_lr(lr: float, effective_batch: int, reference_batch: int) -> float:
    """Scale the rate `lr`, which is meant for `reference_batch` images, linearly with the batch."""
    return lr * effective_batch / reference_batch


def warmup_cosine(
    peak: float, minimum: float, warmup_steps: int, total_steps: int
) -> Callable[[int], float]:
    """Return the factor on `peak` at each step: a linear rise, then a cosine to `minimum`."""
    floor = min(1.0, minimum / peak) if peak > 0 else 1.0

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    return factor
