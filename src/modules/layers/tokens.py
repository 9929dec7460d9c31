"""Holds the tokens that travel through a plain transformer, and what each one stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from ...errors import InputError

# The least weight, so that tokens of weight 0 have an average too.
_SMALLEST_WEIGHT = 1e-30


@dataclass(frozen=True)
class Tokens:
    """Holds prefix tokens (class, distillation, registers) and, behind them, patch tokens.

    Attributes:
        x: `(B, P+N, C)`; N shrinks when tokens are removed.
        prefix: P; these tokens are never touched by a method.
        size: `(B, P+N)`, patches that each token stands for (0 pruned, 1 itself, s merged); None
            means all ones.
        source: `(B, patches)`, for each patch of the image the patch token that stands for it, -1
            where none does; None means each its own.
        data: Further tensors of each patch token by name, such as rotary positions or the index of
            a table's row: `(B, N, ...)`, or `(1, N, ...)` where all images have the same. Selection
            keeps the rows of the kept tokens; a sum or an average has that of its heaviest member.
        tables: Tables that `data` index, by name; removing tokens does not change them.
        grid: Rows and columns of the image's patches, where the network knows them; of a clip's,
            places in time before them. None where patches have left before the first block.
        summaries: In training, for each location passed, what its selector learns from, `(B, C)`.
    """

    x: Float[Tensor, "B T C"]
    prefix: int
    size: Float[Tensor, "B T"] | None = None
    source: Int[Tensor, "B patches"] | None = None
    data: Mapping[str, Tensor] = field(default_factory=dict)
    tables: Mapping[str, Tensor] = field(default_factory=dict)
    grid: tuple[int, ...] | None = None
    summaries: tuple[Tensor, ...] = ()

    @property
    def patches(self) -> Float[Tensor, "B N C"]:
        """Return the patch tokens `(B, N, C)`."""
        return self.x[:, self.prefix :]

    @property
    def patch_size(self) -> Float[Tensor, "B N"] | None:
        """Return the sizes of the patch tokens `(B, N)`, or None for all ones."""
        return None if self.size is None else self.size[:, self.prefix :]

    @property
    def num_patches(self) -> int:
        """Count the patches of the image before anything was removed."""
        return self.source.shape[1] if self.source is not None else self.patches.shape[1]

    def known_grid(self, reader: str) -> tuple[int, ...]:
        """Return the grid for `reader`, a name.

        Raises:
            InputError: If it is not known.
        """
        if self.grid is None:
            raise InputError(
                f"{reader} reads the places of patches, of which patch dropout has removed some in "
                "training: make the network with patch_drop_rate=0, or choose another method."
            )
        return self.grid

    def with_x(self, x: Float[Tensor, "B T C"]) -> Tokens:
        """Return the same tokens with the contents `x (B, P+N, C)`."""
        return replace(self, x=x)

    def mask(self, keep: Float[Tensor, "B N"]) -> Tokens:
        """Prune by size: patch tokens with keep 0 stay in place and count for nothing.

        Args:
            keep: `(B, N)`, 1 keeps and 0 drops. A dropped token never returns (paper A, Eq. 7).
        """
        if self.size is None:
            size = torch.cat([keep.new_ones(keep.shape[0], self.prefix), keep], dim=1)
        else:
            size = torch.cat([self.size[:, : self.prefix], self.size[:, self.prefix :] * keep], 1)
        return replace(self, size=size)

    def select(self, index: Int[Tensor, "B K"]) -> Tokens:
        """Prune by removal: keep the patch tokens `index (B, K)`, in that order."""
        prefix = torch.arange(self.prefix, device=index.device).expand(index.shape[0], -1)
        kept = torch.cat([prefix, index + self.prefix], dim=1)
        size = self.size
        return replace(
            self,
            x=take_rows(self.x, kept),
            size=None if size is None else size.gather(1, kept),
            source=self._source_after(index),
            data=self._data_of(index),
        )

    def fuse(self, index: Int[Tensor, "B K"], weight: Float[Tensor, "B N"]) -> Tokens:
        """Keep the patch tokens `index (B, K)` and sum the others into one token behind them.

        Args:
            index: As in `select`.
            weight: `(B, N)`, weight of each patch token in the sum.
        """
        rest = torch.ones_like(weight).scatter(1, index, 0.0)  # 1 = not kept
        fused = ((weight * rest).unsqueeze(-1) * self.patches).sum(1, keepdim=True)
        kept = self.select(index)
        size = kept.size
        if size is not None:
            assert self.patch_size is not None
            size = torch.cat([size, (self.patch_size * rest).sum(1, keepdim=True)], dim=1)
        x = torch.cat([kept.x, fused.to(kept.x.dtype)], dim=1)
        first = weight.masked_fill(rest == 0, -torch.inf).argmax(1, keepdim=True)
        data = self._data_of(torch.cat([index, first], dim=1)) if self.data else {}
        return replace(kept, x=x, size=size, data=data)

    def merge(
        self, group: Int[Tensor, "B N"], count: int, weight: Float[Tensor, "B N"] | None = None
    ) -> Tokens:
        """Average patch tokens that go together; sizes add up.

        Args:
            group: `(B, N)`, the new index in 0..count-1 of each patch token; none stays empty.
            count: New number of patch tokens.
            weight: `(B, N)`, each token's weight in its average; its size by default.
        """
        size = self.size
        if size is None:  # in fp32, for bf16 cannot count beyond 256
            size = self.x.new_ones(self.x.shape[:2], dtype=torch.float32)
        old = size[:, self.prefix :].float()
        weight = (old if weight is None else weight).float().clamp(min=_SMALLEST_WEIGHT)
        empty = weight.new_zeros(self.x.shape[0], count)
        share = weight / empty.scatter_add(1, group, weight).gather(1, group)  # (B, N)
        rows = group.unsqueeze(-1).expand_as(self.patches)
        merged = torch.zeros_like(self.patches[:, :1]).expand(-1, count, -1)
        merged = merged.scatter_add(1, rows, self.patches * share.unsqueeze(-1).to(self.x.dtype))
        source = group if self.source is None else self._followed(group)
        return replace(
            self,
            x=torch.cat([self.x[:, : self.prefix], merged], dim=1),
            size=torch.cat([size[:, : self.prefix], empty.scatter_add(1, group, old)], dim=1),
            source=source,
            data=self._data_of(heaviest(group, count, weight)) if self.data else {},
        )

    def _data_of(self, index: Int[Tensor, "B K"]) -> dict[str, Tensor]:
        return {
            name: take_rows(each.expand(index.shape[0], *each.shape[1:]), index)
            for name, each in self.data.items()
        }

    def _followed(self, group: Int[Tensor, "B N"]) -> Int[Tensor, "B patches"]:
        assert self.source is not None
        return torch.where(self.source >= 0, group.gather(1, self.source.clamp(min=0)), -1)

    def _source_after(self, index: Int[Tensor, "B K"]) -> Int[Tensor, "B patches"]:
        # One slot more than there are tokens: -1 (nothing stands for the patch) reads it as well.
        gone = index.new_full((index.shape[0], self.patches.shape[1] + 1), -1)
        ranks = torch.arange(index.shape[1], device=index.device).expand_as(index)
        rank_of_token = gone.scatter(1, index, ranks)
        if self.source is None:
            return rank_of_token[:, :-1]
        return rank_of_token.gather(1, self.source.remainder(rank_of_token.shape[1]))

    def survivors(self) -> Float[Tensor, "B patches"]:
        """Return which patches of the image still count, `(B, patches)`: 1 = keep, 0 = dropped.

        Differentiable where the decision was drawn in training.
        """
        alive = self.patch_size
        if self.source is None:
            ones = self.x.shape[0], self.patches.shape[1]
            return self.x.new_ones(ones) if alive is None else alive
        standing = self.source >= 0
        if alive is None:
            return standing.to(self.x.dtype)
        size = alive.gather(1, self.source.clamp(min=0).long())
        return (standing & (size > 0)).to(alive.dtype)

    def count(self) -> Float[Tensor, " B"]:
        """Count the patch tokens of positive size in each image, `(B,)`."""
        if self.size is None:
            return self.x.new_full((self.x.shape[0],), self.patches.shape[1], dtype=torch.float32)
        return (self.size[:, self.prefix :] > 0).sum(dim=1, dtype=torch.float32)


def heaviest(
    group: Int[Tensor, "B N"], count: int, weight: Float[Tensor, "B N"]
) -> Int[Tensor, "B {count}"]:
    """Return the index of each group's heaviest token, `(B, count)`; of equals the first.

    Args:
        group: `(B, N)`, 0..count-1.
        count: Number of groups; an empty one gets the last token.
        weight: `(B, N)`, positive.
    """
    most = weight.new_zeros(weight.shape[0], count).scatter_reduce(1, group, weight, "amax")
    last = weight.shape[1] - 1
    index = torch.arange(last + 1, device=weight.device).expand_as(group)
    index = torch.where(weight == most.gather(1, group), index, last)
    return index.new_full(most.shape, last).scatter_reduce(1, group, index, "amin")


def take_rows(x: Shaped[Tensor, "B T ..."], index: Int[Tensor, "B K"]) -> Shaped[Tensor, "B K ..."]:
    """Return the rows `index (B, K)` of `x (B, T, ...)`: `(B, K, ...)`.

    Looks up complete rows, which is faster than `gather`, which looks up single elements.
    """
    start = x.shape[1] * torch.arange(x.shape[0], device=x.device)
    rows = (index + start.unsqueeze(1)).flatten()
    return x.flatten(0, 1).index_select(0, rows).unflatten(0, index.shape)
