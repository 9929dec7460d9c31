"""Describes a schedule by the tokens kept at each place, and fits it to a budget."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...errors import InputError
from ...measure.complexity import copy_to_meta, count_on_meta
from ..backbones.sequence import SequenceBackbone
from ..schedules import KeepSchedule

_CORRECTIONS = 5  # most corrections of an estimated cost
Student = SequenceBackbone[Any]  # of blocks of any kind
Counts = tuple[int, ...]  # tokens kept from each place on, never rising


class Plans:
    """Turns counts of tokens into schedules of a student, and computes their cost.

    Attributes:
        places: Blocks at which tokens may be dropped: all that the method accepts, or the
            student's locations where it has parameters for each of them.
        patches: Tokens of an image, the largest count.
    """

    def __init__(self, student: Student, image_size: tuple[int, int]) -> None:
        """Copy the student to the meta device, where the cost of schedules is counted."""
        self._shadow = copy_to_meta(student)
        self._sides = student.input_sides(image_size)
        self._known: dict[Counts, float] = {}
        self._blocks = [
            sum(weight.numel() for weight in block.parameters() if weight.ndim > 1)
            for block in student.blocks()
        ]
        self._dim = student.geometry(student.backbone).dim
        self._error = 0.0  # by how many GMACs the last estimate was too low
        method = student.method
        self._fixed = method.one_head_per_location
        self._own = method.schedule.locations
        self.patches = math.prod(student.patch_embed.dynamic_feat_size(image_size))
        taken = filter(self._takes, range(method.depth))
        self.places = self._own if self._fixed else tuple(taken)

    def _takes(self, place: int) -> bool:
        try:
            self._shadow.method.schedule = KeepSchedule((place,), (1.0,))
        except InputError:
            return False
        return True

    def schedule(self, counts: Counts) -> KeepSchedule:
        """Return the schedule that keeps `counts`; its locations are the places where they fall."""
        before = (self.patches, *counts)
        kept = [
            # Rounded up, so that `num_keep` gives the count again.
            (place, min(1.0, math.ceil(count / self.patches * 1e6) / 1e6))
            for place, count, last in zip(self.places, counts, before, strict=False)
            if self._fixed or count < last
        ]
        return KeepSchedule(tuple(place for place, _ in kept), tuple(ratio for _, ratio in kept))

    def gmacs(self, counts: Counts) -> float:
        """Count the GMACs of one image at inference."""
        if counts not in self._known:
            self._shadow.method.schedule = self.schedule(counts)
            self._known[counts] = count_on_meta(self._shadow, self._sides)
        return self._known[counts]

    def least(self) -> float:
        """Return the fewest possible GMACs: one token from the first place on, or half at each."""
        halves = [max(1, self.patches >> (i + 1)) for i in range(len(self.places))]
        return min(map(self.gmacs, ((1,) * len(halves), tuple(halves))))

    def _estimate(self, counts: Counts) -> float:
        """Estimate the blocks' GMACs: n tokens cost n times the weights and 2 n^2 channels each."""
        left, total, at = self.patches, 0, dict(zip(self.places, counts, strict=True))
        for layer, weights in enumerate(self._blocks):
            left = at.get(layer, left)
            total += left * weights + 2 * left * left * self._dim
        return total / 1e9

    def largest(self, family: Callable[[int], Counts], most: int, budget: float) -> Counts | None:
        """Return a member that nearly spends `budget`, None if `family(most)` is above it.

        Bisects by the estimate, corrected by its last error; the cost of the result has been
        counted.

        Args:
            family: Counts for a number from 0; larger numbers cost less.
            most: The largest number.
            budget: GMACs, never exceeded.
        """
        for _ in range(_CORRECTIONS):
            low, high = 0, most
            while low < high:
                middle = (low + high) // 2
                if self._estimate(family(middle)) + self._error <= budget:
                    high = middle
                else:
                    low = middle + 1
            found = family(high)
            if self.gmacs(found) <= budget:
                return found
            if high == most:
                return None
            self._error = self.gmacs(found) - self._estimate(found) + 1e-9
        return None

    def calibrate(self, counts: Counts) -> None:
        """Correct the estimate, for schedules near `counts`, by its error there."""
        self._error = self.gmacs(counts) - self._estimate(counts)

    def fit(self, family: Callable[[float], Counts], budget: float) -> Counts | None:
        """Return the member that spends most of `budget`, None if there is none.

        Args:
            family: Counts for a number in [0, 1]; larger numbers cost less.
            budget: GMACs.
        """
        most = 8 * self.patches
        best = None
        self._error = 0.0  # one from another family may be far off
        for _ in range(2):  # the second time with an error measured nearby
            found = self.largest(lambda number: family(number / most), most, budget)
            if found is not None:
                self.calibrate(found)
                best = max(best or found, found, key=self.gmacs)
        return best

    def families(self) -> list[tuple[str, Callable[[float], Counts]]]:
        """Return families of schedules to begin with, by name; the first is the papers'.

        They drop geometrically at the student's own locations; all at one place; or equal parts, or
        equal shares of the tokens that are left, at each place from one on.
        """
        passed = [sum(own <= place for own in self._own) for place in self.places]
        number = len(self.places)
        found = [
            (
                "geometric at the student's locations",
                self._family(lambda i, s: (1 - s) ** passed[i]),
            )
        ]
        for start in sorted({number * part // 6 for part in range(4)}):
            place, rest = self.places[start], number - start

            def at_once(i: int, s: float, start: int = start) -> float:
                return 1.0 if i < start else 1 - s

            def steadily(i: int, s: float, start: int = start, rest: int = rest) -> float:
                return 1 - s * max(0, i - start + 1) / rest

            def by_shares(i: int, s: float, start: int = start) -> float:
                return (1 - s) ** max(0, i - start + 1)

            found.append((f"equal shares from block {place} on", self._family(by_shares)))
            found.append((f"all at block {place}", self._family(at_once)))
            found.append((f"equal parts from block {place} on", self._family(steadily)))
        return found

    def _family(self, share: Callable[[int, float], float]) -> Callable[[float], Counts]:
        def counts(s: float) -> Counts:
            shares = (share(i, s) for i in range(len(self.places)))
            return tuple(max(1, round(each * self.patches)) for each in shares)

        return counts

    def exchange(
        self, counts: Counts, raised: int, lowered: int, by: int, budget: float
    ) -> Counts | None:
        """Keep `by` tokens more at place `raised`, and fewer from place `lowered` on.

        Places before `raised` keep at least as many as it, those after `lowered` at most as many,
        and `lowered` loses as few as the budget allows.

        Returns:
            The new counts; None if there are none within `budget` that differ from `counts`.
        """
        more = min(self.patches, counts[raised] + by)
        up = [max(count, more) if i <= raised else count for i, count in enumerate(counts)]

        def down(less: int) -> Counts:
            most = max(1, up[lowered] - less)
            return tuple(min(count, most) if i >= lowered else count for i, count in enumerate(up))

        if tuple(up) == counts:
            return None
        self.calibrate(counts)
        found = self.largest(down, up[lowered] - 1, budget)
        return None if found == counts else found
