"""Runs a student from the block where its schedule changes, on tokens kept from before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import InputError
from ..layers.tokens import Tokens
from ..schedules import KeepSchedule
from .counts import Student


@dataclass(frozen=True)
class Walk:
    """Holds the outcome of a schedule on the images.

    Attributes:
        divergence: `(B,)`, KL of each image's logits from the dense network's, in nats.
        agreement: Share of the images with the dense network's top-1.
        entries: For each batch the tokens that entered each block.
    """

    divergence: Float[Tensor, " B"]
    agreement: float
    entries: tuple[tuple[Tokens, ...], ...]

    @property
    def mean(self) -> float:
        """Return the mean divergence over the images."""
        return float(self.divergence.mean())


class Walker:
    """Compares a student with its own dense network on a fixed set of images."""

    def __init__(self, student: Student, batches: Sequence[Tensor]) -> None:
        """Run the dense network on `batches`, each `(B, 3, H, W)`.

        Raises:
            InputError: If its logits are not finite, as under pixels that are not.
        """
        self._student = student
        self._blocks = list(student.blocks())
        self._start = tuple((student.enter(images),) for images in batches)
        dense = student.dense_copy().eval()
        self._targets = [_log_softmax(dense(images).logits, "dense network") for images in batches]

    def run(
        self,
        schedule: KeepSchedule,
        known: Walk | None = None,
        changed: int = 0,
        rival: Walk | None = None,
    ) -> Walk | None:
        """Run `schedule`; return None as soon as it is worse than `rival` by one standard error.

        The error is that of the mean of the images' differences, after each batch.

        Args:
            schedule: The schedule to run.
            known: A walk that is the same up to the location `changed`.
            changed: The first block at which the number of kept tokens differs.
            rival: The walk to beat.
        """
        method = self._student.method
        method.schedule = schedule
        first = max(changed - 1, 0) if known else 0  # the block before may score by its MLP
        divergences, agreed, entries = [], 0, []
        for batch, target in enumerate(self._targets):
            entered = list((known.entries if known else self._start)[batch][: first + 1])
            tokens = entered.pop()
            for layer, block in enumerate(self._blocks[first:], start=first):
                entered.append(tokens)
                tokens, moved = self._student.run_block(layer, block, tokens, method)
                tokens = method.after_mlp(layer, tokens, moved)
            logits = _log_softmax(self._student.classify(tokens)[0], "student")
            divergences.append((target.exp() * (target - logits)).sum(dim=1))
            agreed += int((logits.argmax(dim=1) == target.argmax(dim=1)).sum())
            entries.append(tuple(entered))
            divergence = torch.cat(divergences)
            if rival and _behind(divergence, rival.divergence[: len(divergence)]):
                return None
        return Walk(divergence, agreed / len(divergence), tuple(entries))


def _log_softmax(logits: Tensor, whose: str) -> Tensor:
    if not logits.isfinite().all():
        raise InputError(
            f"Logits of the {whose} are not finite, so that no schedule is better than another: "
            "give images whose pixels are finite, or a network in a larger precision."
        )
    return logits.float().log_softmax(dim=1)


def _behind(divergence: Tensor, rival: Tensor) -> bool:
    behind = divergence - rival
    if len(behind) == 1:
        return float(behind) > 0
    return float(behind.mean()) > float(behind.std()) / len(behind) ** 0.5
