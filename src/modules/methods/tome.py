"""ToMe: merge similar tokens in every block (Bolya et al., ICLR 2023, arXiv:2210.09461)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from ...errors import InputError
from ..layers import products
from ..layers.attention import Attended
from ..layers.matching import alternate, bipartite, groups
from ..layers.tokens import Tokens
from ..schedules import KeepSchedule
from .base import Geometry, TokenReduction


class ToMe(TokenReduction):
    """Merges `r` tokens after each attention with the ones whose keys are most similar.

    Bipartite soft matching on the mean of the heads' keys; averages are weighted by size, and
    attention is proportional to size (Eq. 1). Nothing is learned: the method works off the shelf.
    """

    merges = True
    schedule_options = {"r": None, "at_locations": True}

    def __init__(
        self,
        schedule: KeepSchedule,
        geometry: Geometry,
        r: int | None = None,
        at_locations: bool = False,
    ) -> None:
        """Choose how many tokens merge.

        Args:
            schedule: Without `r` it sets the cost: as many tokens pass through all blocks together
                as under a method that drops by this schedule.
            geometry: Sizes of the network.
            r: Tokens merged in each block, as in the paper.
            at_locations: Merge at the schedule's locations alone, down to what it keeps there, and
                at most half of the tokens at a time.

        Raises:
            InputError: If `r` is not a whole number from 0, or is given with `at_locations`, or
                that is neither true nor false.
        """
        if r is not None and (not isinstance(r, int) or isinstance(r, bool) or r < 0):
            raise InputError(f"method.r={r!r} is not a whole number from 0, as 13, or null.")
        if not isinstance(at_locations, bool):
            raise InputError(f"method.at_locations={at_locations!r} is neither true nor false.")
        if r is not None and at_locations:
            raise InputError(
                f"method.r={r} merges in every block, method.at_locations=true at "
                "the schedule's locations: give one of them."
            )
        super().__init__(schedule, geometry)
        self.r = r
        self.at_locations = at_locations
        self._by_products = False

    @property
    @override
    def ignores_rho(self) -> str:  # type: ignore[override]
        return "" if self.r is None else "method.r says how many tokens merge"

    @property
    @override
    def outline(self) -> str:
        if self.r is not None:
            return f"merges {self.r} tokens in each block"
        if self.at_locations:
            return super().outline
        return super().outline.replace("keeps", "merges in each block for the cost of keeping")

    @override
    def use_products(self) -> None:
        self._by_products = True

    @override
    def after_attention(self, layer: int, tokens: Tokens, attended: Attended) -> Tokens:
        count = tokens.patches.shape[1]
        r = min(self._merges(layer, count, tokens.num_patches), count // 2)
        if r == 0:
            return tokens
        metric = F.normalize(attended.key[:, :, tokens.prefix :].mean(dim=1).float(), dim=-1)
        if self._by_products:
            group = self.match_by_products(layer, metric, r, tokens.prefix)
            return products.merge(tokens, group, count - r)
        return tokens.merge(*self.match(layer, metric, r, tokens.prefix))

    def match(
        self, layer: int, metric: Float[Tensor, "B N D"], r: int, prefix: int
    ) -> tuple[Int[Tensor, "B N"], int]:
        """Return the group `(B, N)` that each patch token joins, and how many groups there are.

        Args:
            layer: Index of the block.
            metric: `(B, N, D)`, the heads' mean key of each patch token, of length 1.
            r: How many tokens to merge away, at most half of them.
            prefix: Tokens before the patch tokens.
        """
        count = metric.shape[1]
        leaving, receiving = alternate(count, prefix, metric.device)
        affinity = metric[:, leaving] @ metric[:, receiving].transpose(1, 2)
        group = groups(*bipartite(affinity, min(r, len(leaving))), len(receiving))
        place = torch.cat([leaving, receiving]).argsort()
        return group[:, place], count - min(r, len(leaving))

    def match_by_products(
        self, layer: int, metric: Float[Tensor, "B N D"], r: int, prefix: int
    ) -> Float[Tensor, "B N"]:
        """Return the groups of `match` without sorting and look-ups."""
        first = prefix % 2
        leaving, receiving = metric[:, first::2], metric[:, 1 - first :: 2]
        sources, targets = leaving.shape[1], receiving.shape[1]
        joined = products.bipartite(leaving @ receiving.transpose(1, 2), r)
        own = (sources - r + torch.arange(targets, dtype=torch.float32)).expand(metric.shape[0], -1)
        turns = (own, joined) if first else (joined, own)
        padded = [F.pad(each, (0, max(sources, targets) - each.shape[1])) for each in turns]
        return torch.stack(padded, dim=2).flatten(1)[:, : metric.shape[1]]

    def _merges(self, layer: int, count: int, patches: int) -> int:
        """Return how many of `count` tokens block `layer` should merge away."""
        if not self.at_locations:
            r = self.r
            return merges_per_block(self.schedule, self.depth, patches) if r is None else r
        number = self.number_at(layer)
        return 0 if number is None else max(0, count - self.schedule.num_keep(number, patches))


def merges_per_block(schedule: KeepSchedule, depth: int, patches: int) -> int:
    """Return how many tokens to merge in each block for the cost of dropping by `schedule`.

    Cost is the sum over blocks of the tokens in attention and in MLP.

    Args:
        schedule: The schedule whose cost is matched.
        depth: Number of blocks.
        patches: Patch tokens of an image.
    """
    dropped, left = 0, patches
    for layer in range(depth):
        if layer in schedule.locations:
            left = schedule.num_keep(schedule.locations.index(layer), patches)
        dropped += 2 * left

    def merged(r: int) -> int:
        cost, count = 0, patches
        for _ in range(depth):
            after = count - min(r, count // 2)
            cost, count = cost + count + after, after
        return cost

    distances = [abs(merged(r) - dropped) for r in range(patches // 2 + 1)]
    return distances.index(min(distances))
