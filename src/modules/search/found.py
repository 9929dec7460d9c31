"""Holds the result of a search, and writes it as a schedule for `conf/schedule`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import InputError
from ...files import atomic_file
from ..backbones.base import SparseBackbone
from ..schedules import KeepSchedule


@dataclass(frozen=True)
class SearchStep:
    """Describes a schedule that was the best when it was tried.

    Attributes:
        name: How it was made.
        schedule: Locations and keep ratios.
        gmacs: GMACs of one image.
        divergence: KL from the dense network's logits, in nats, mean of the images.
        agreement: Share of the images with the dense network's top-1.
    """

    name: str
    schedule: KeepSchedule
    gmacs: float
    divergence: float
    agreement: float


@dataclass(frozen=True)
class FoundSchedule:
    """Describes the schedule that a search found, and the search.

    Attributes:
        schedule: Locations and keep ratios.
        options: Options of the method under which it keeps them, as `at_locations` of ToMe.
        gmacs: GMACs of one image; never more than the budget.
        divergence: KL from the dense network's logits, in nats, mean of the images.
        agreement: Share of the images with the dense network's top-1.
        steps: The best schedules one after the other, from the student's usual one on.
        trials: Number of schedules that were run.
        images: Number of images that they were run on.
        seconds: Duration of the search.
    """

    schedule: KeepSchedule
    options: Mapping[str, object] = field(hash=False)
    gmacs: float
    divergence: float
    agreement: float
    steps: tuple[SearchStep, ...]
    trials: int
    images: int
    seconds: float = field(compare=False)

    def apply(self, student: SparseBackbone) -> None:
        """Give `student` the schedule, and its method the options.

        Raises:
            InputError: If its method does not have the options.
        """
        method = student.method
        unknown = [name for name in self.options if not hasattr(method, name)]
        if unknown:
            raise InputError(
                f"The schedule was searched with the option {unknown[0]}, which {method.name} does "
                "not have: apply it to a student of the same method."
            )
        for name, value in self.options.items():
            setattr(method, name, value)
        if method.settings is not None:
            method.settings = {**method.settings, **self.options}
        method.schedule = self.schedule

    def save(self, path: str | Path) -> None:
        """Write a yaml for `conf/schedule`, or for a folder `schedule` in a `--config-dir`."""
        lines = [
            f"# {self.gmacs:.4g} GMACs, KL from the dense network {self.divergence:.4g}, top-1 "
            f"agreement {self.agreement:.1%} on the {self.images} images searched.",
            *(f"# Needs method.{name}={_yaml(value)}" for name, value in self.options.items()),
            "_target_: src.modules.schedules.explicit",
            f"ratios: {list(self.schedule.ratios)}",
            f"locations: {list(self.schedule.locations)}",
        ]
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as partial:
            partial.write_text("\n".join(lines) + "\n")


def _yaml(value: object) -> str:
    return "null" if value is None else str(value).lower()
