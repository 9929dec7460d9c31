"""Sums the weighted loss terms of a training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import Settings, instantiate
from ..errors import InputError
from ..ranges import Number
from .backbones.base import SparseBackbone
from .heads.base import Output, of_student
from .losses import LossTerm, TeacherOutput

RANGES = {"weight": Number(0.5, least=0)}  # of settings that every named term has beside its own


class WeightedLoss(nn.Module):
    """Sums the terms that have a weight above 0.

    Attributes:
        terms: The terms by name.
        weights: Their weights by name.
        left_out: Names of terms that do not apply to the student that it was prepared for.
    """

    def __init__(self, terms: dict[str, LossTerm], weights: dict[str, float]) -> None:
        """Keep the terms with a weight above 0.

        Raises:
            InputError: If no term has one, or a weight is negative.
        """
        super().__init__()
        for name, weight in weights.items():
            if not isinstance(weight, (int, float)) or weight < 0:
                raise InputError(f"loss.{name}.weight={weight!r} is not a number from 0.")
        self.terms = nn.ModuleDict({n: term for n, term in terms.items() if weights[n] > 0})
        self.weights = {name: weights[name] for name in self.terms}
        self.left_out: list[str] = []
        if not self.terms:
            raise InputError("Every loss weight is 0: give at least one term a weight above 0.")

    @property
    def needs_teacher(self) -> bool:
        """Return whether any term reads the teacher's output."""
        return any(term.needs_teacher for term in self._terms())

    @property
    def needs_token_logits(self) -> bool:
        """Return whether any term reads class logits of each token."""
        return any(term.needs_token_logits for term in self._terms())

    def prepare(self, student: SparseBackbone, num_classes: int) -> None:
        """Leave out what does not apply to `student`, and make the other terms' own parameters.

        Args:
            student: The student to train.
            num_classes: Its outputs; 0 for no classifier.

        Raises:
            InputError: If no term applies, or one needs what the student does not have.
        """
        terms = self._named_terms()
        self.left_out = [name for name, term in terms.items() if not term.applies(student)]
        self.terms = nn.ModuleDict({n: t for n, t in terms.items() if n not in self.left_out})
        self.weights = {name: self.weights[name] for name in self.terms}
        if not self.terms:
            raise InputError(
                f"The loss is {' and '.join(self.left_out)} alone, from which this method cannot "
                "learn: add a term, as loss=dynamicvit has them."
            )
        for term in self._terms():
            term.prepare(student, num_classes)

    @property
    def teaches_selectors(self) -> bool:
        """Return whether any term trains selectors that learn by summaries."""
        return any(term.teaches_selectors for term in self._terms())

    @property
    def copies_classes(self) -> bool:
        """Return whether any term trains selectors by the classes of the teacher."""
        return any(term.teaches_selectors and term.reads_classifier for term in self._terms())

    @property
    def holds_ratio(self) -> bool:
        """Return whether any term holds drawn decisions to the schedule."""
        return any(term.holds_ratio for term in self._terms())

    def without_effect(self) -> dict[str, str]:
        """Return the settings that change nothing in this training, each with the reason."""
        unused = {f"loss.{name}": "this method does not learn from it" for name in self.left_out}
        if not self.needs_teacher:
            unused["task.teacher"] = "no loss term reads the teacher's output"
        return unused

    def _named_terms(self) -> dict[str, LossTerm]:
        return {n: term for n, term in self.terms.items() if isinstance(term, LossTerm)}

    def _terms(self) -> list[LossTerm]:
        return list(self._named_terms().values())

    def forward(
        self, output: Output, teacher: TeacherOutput, target: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum, and each term without its weight."""
        own, terms = of_student(output), self._named_terms()
        values = {
            name: term(output if term.reads_head else own, teacher, target)
            for name, term in terms.items()
        }
        total = torch.stack([self.weights[name] * value for name, value in values.items()]).sum()
        return total, values


def build_loss(loss: dict[str, Settings]) -> WeightedLoss:
    """Build the named terms of `conf/loss/*.yaml`, each a target with a weight.

    Raises:
        InputError: If a term has no weight, or refuses its settings.
    """
    loss = {name: term for name, term in loss.items() if term}  # null switches a term off
    for name, term in loss.items():
        if "weight" not in term:
            raise InputError(f"loss.{name} has no weight: add +loss.{name}.weight=0.5 or another.")
    terms = {
        name: instantiate({key: value for key, value in term.items() if key != "weight"})
        for name, term in loss.items()
    }
    return WeightedLoss(terms, {name: term["weight"] for name, term in loss.items()})
