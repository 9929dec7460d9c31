"""Searches where and how many tokens a student should drop within a budget of MACs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from rich.progress import Progress
from torch import Tensor

from ...errors import InputError
from ...measure.complexity import count_gmacs
from ...measure.evaluating import evaluating
from ...ranges import Number
from ..backbones.base import SparseBackbone
from ..backbones.sequence import SequenceBackbone
from .counts import Counts, Plans, Student
from .found import FoundSchedule, SearchStep
from .walks import Walk, Walker

COUNT = Number(32, least=1, whole=True)
SEED = Number(0, least=0, whole=True)
SHARE = Number(0.5, above=0, below=1)
GMACS = Number(1, above=0)
PARTS = (8, 16, 32)  # exchanges move an eighth of the tokens, later a sixteenth, then a 32nd


def search_schedule(
    student: SparseBackbone,
    images: Tensor,
    *,
    budget: float | None = None,
    gmacs: float | None = None,
    trials: int = 300,
    batch_size: int = 32,
    seed: int = 0,
    progress: bool = True,
) -> FoundSchedule:
    """Search for the schedule under which `student` agrees best with its own dense network.

    Nothing is trained and no label is read. The student is left as it was
    (`FoundSchedule.apply` gives it the schedule).

    Args:
        student: A plain transformer under any method that follows its schedule.
        images: `(B, 3, H, W)` or clips `(B, 3, T, H, W)`, some hundreds, normalized.
        budget: Share of the dense network's MACs, in (0, 1).
        gmacs: The same in GMACs of one image; give one of the two.
        trials: Most schedules to run.
        batch_size: Images of a batch.
        seed: Seed of the order in which exchanges are tried.
        progress: Show a progress bar.

    Raises:
        InputError: If the budget cannot be met, there are no images or not such as the network
            takes, logits are not finite or of one class alone, or the student's method or network
            does not follow a schedule of kept tokens.
    """
    began = time.perf_counter()
    counts = {"trials": trials, "batch_size": batch_size}
    faults = [COUNT.fault(name, value) for name, value in counts.items()]
    if any(faults := [*faults, SEED.fault("seed", seed)]):
        raise InputError(*filter(None, faults))
    _check(student, images)
    assert isinstance(student, SequenceBackbone)
    with _searchable(student), torch.inference_mode():
        search = _Search(student, images.split(batch_size), _limit(student, images, budget, gmacs))
        with Progress(disable=not progress, transient=True) as bar:
            task = bar.add_task("Searching a schedule", total=trials)
            for step in search.run(trials, seed):
                shown = f"KL {step.divergence:.4f}, {step.gmacs:.4g} GMACs"
                bar.update(task, completed=search.trials, description=shown)
        best, options = search.steps[-1], dict(student.method.schedule_options)
    seconds = time.perf_counter() - began
    reached = (best.schedule, options, best.gmacs, best.divergence, best.agreement)
    return FoundSchedule(*reached, tuple(search.steps), search.trials, len(images), seconds)


class _Search:
    """Improves the best of a few simple schedules by exchanges that lower the divergence."""

    def __init__(self, student: Student, batches: tuple[Tensor, ...], budget: float) -> None:
        height, width = batches[0].shape[-2:]
        self._plans = Plans(student, (height, width))
        least = self._plans.least()
        if budget < least:
            raise InputError(
                f"The budget of {budget:.4g} GMACs is below {least:.4g}, the least that "
                f"{student.method.name} reaches: give a larger one."
            )
        self._walker = Walker(student, batches)
        self._budget = budget
        self._name = student.method.name
        self._tried: set[Counts] = set()
        self._counts: Counts = ()
        self._walk: Walk | None = None
        self.trials = 0
        self.steps: list[SearchStep] = []

    def run(self, trials: int, seed: int) -> Iterator[SearchStep]:
        """Search; give the best so far after every trial."""
        for name, family in self._plans.families():
            counts = self._plans.fit(family, self._budget)
            if counts is not None and self.trials < trials:
                self._try(name, counts)
                yield self.steps[-1]
        if not self.steps:
            raise InputError(
                f"None of the schedules to begin with meets {self._budget:.4g} GMACs under "
                f"{self._name}: give a larger budget."
            )
        order = torch.Generator().manual_seed(seed)
        number = len(self._plans.places)
        start = self.trials
        for stage, part in enumerate(PARTS, start=1):
            allowed = start + (trials - start) * stage // len(PARTS)
            by = max(1, self._plans.patches // part)
            improved = True
            while improved and self.trials < allowed:
                improved = False
                for pair in torch.randperm(number * number, generator=order).tolist():
                    raised, lowered = divmod(pair, number)
                    while self.trials < allowed and self._exchange(raised, lowered, by):
                        improved = True
                        yield self.steps[-1]
                    yield self.steps[-1]

    def _exchange(self, raised: int, lowered: int, by: int) -> bool:
        counts = self._plans.exchange(self._counts, raised, lowered, by, self._budget)
        name = f"{by} from block {self._plans.places[lowered]} to {self._plans.places[raised]}"
        return counts is not None and self._try(name, counts)

    def _try(self, name: str, counts: Counts) -> bool:
        """Run `counts`, and return whether it is the best so far."""
        if counts in self._tried:
            return False
        self._tried.add(counts)
        self.trials += 1
        schedule = self._plans.schedule(counts)
        changed = next(
            (i for i, (a, b) in enumerate(zip(counts, self._counts, strict=False)) if a != b), 0
        )
        place = self._plans.places[changed]
        walk = self._walker.run(schedule, self._walk, place, self._walk)
        if walk is None or (self._walk and walk.mean >= self._walk.mean):
            return False
        self._counts, self._walk = counts, walk
        gmacs = self._plans.gmacs(counts)
        self.steps.append(SearchStep(name, schedule, gmacs, walk.mean, walk.agreement))
        return True


@contextmanager
def _searchable(student: Student) -> Iterator[None]:
    """Let the student evaluate and follow schedules inside, and restore its state afterwards."""
    method = student.method
    before = {name: getattr(method, name) for name in method.schedule_options}
    schedule = method.schedule
    try:
        for name, value in method.schedule_options.items():
            setattr(method, name, value)
        with evaluating(student):
            yield
    finally:
        for name, value in before.items():
            setattr(method, name, value)
        method.schedule = schedule


def _check(student: SparseBackbone, images: Tensor) -> None:
    method = student.method
    if not isinstance(student, SequenceBackbone):
        raise InputError(
            f"{type(student).__name__} keeps its feature map complete: a schedule can be searched "
            "for plain transformers, as deit_s."
        )
    if method.ignores_rho and not student.method.schedule_options:
        raise InputError(f"A schedule would change nothing here: {method.ignores_rho}.")
    if not isinstance(images, Tensor) or images.ndim not in (4, 5) or not len(images):
        given = f"have the shape {tuple(images.shape)}" if isinstance(images, Tensor) else ""
        raise InputError(
            f"The images {given or f'are a {type(images).__name__}'}: give a tensor of some "
            "hundreds, (B, 3, H, W), or clips (B, 3, T, H, W)."
        )
    if student.num_classes < 2:
        outputs = "one output" if student.num_classes else "no classifier"
        raise InputError(
            "A schedule is judged by the softmax over classes, and this "
            f"{type(student.backbone).__name__} has {outputs}: give a network for two or more."
        )
    if student.task in ("multilabel", "embedding"):
        raise InputError(
            "A schedule is judged by the softmax over classes, and this student's task is "
            f"{student.task}: give a student that tells one class of each image."
        )
    student.predict(images[:1])  # says what does not suit the network


def _limit(
    student: SparseBackbone, images: Tensor, budget: float | None, gmacs: float | None
) -> float:
    """Return the budget in GMACs."""
    dense = count_gmacs(student.backbone, tuple(images.shape[2:]))
    if (budget is None) == (gmacs is None):
        raise InputError(
            f"budget={budget} (share of the dense MACs) and gmacs={gmacs}: give one of them."
        )
    if budget is not None and not SHARE.accepts(budget):
        raise InputError(
            f"budget={budget!r} is not a share of the dense MACs: give a number in (0, 1), as "
            "0.5, or gmacs."
        )
    if gmacs is not None and not (GMACS.accepts(gmacs) and gmacs < dense):
        raise InputError(
            f"gmacs={gmacs!r} is not a budget: give less than the dense network's {dense:.4g}."
        )
    return dense * budget if budget is not None else float(gmacs or 0)
