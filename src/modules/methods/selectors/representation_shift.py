"""Score a patch by how far an MLP moves it (Representation Shift: Choi et al., ICCV 2025)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ....errors import InputError
from ...layers.tokens import Tokens
from ...schedules import KeepSchedule
from .base import Seen, Selector


class RepresentationShift(Selector):
    """Scores by the Euclidean norm of what the MLP of the block before added to each token.

    There is nothing to learn, and no attention map to read. The paper compares a token before and
    after the MLP; here what the residual branch adds is that difference.
    """

    reads = "mlp"

    @override
    def check(self, schedule: KeepSchedule) -> None:
        if 0 in schedule.locations:
            raise InputError(
                f"schedule.locations={list(schedule.locations)} asks for block 0, but "
                "RepresentationShift scores tokens by the MLP of the block before: give locations "
                "from 1 on."
            )

    @override
    def score(self, tokens: Tokens, number: int, seen: Seen) -> Float[Tensor, "B N"]:
        assert seen.moved is not None
        return seen.moved[:, tokens.prefix :].float().norm(dim=-1)
