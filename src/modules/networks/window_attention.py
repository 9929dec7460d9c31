"""Computes torchvision's attention in windows of space and time, in fewer steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.video.swin_transformer import ShiftedWindowAttention3d

_APART = -100.0  # added to the logits of positions that rolling has brought together


class WindowAttention3d(ShiftedWindowAttention3d):
    """Attends in windows of a map `(B, t, h, w, C)` that is padded and then rolled.

    Modifications of torchvision's: one fused attention, and a mask that takes a few operations
    instead of one for each of 27 regions; bias and attention can be asked for alone.
    """

    def windows_on(self, sizes: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return the sides of a window and by how much the map is rolled, for a map of `sizes`.

        Along a side that is not longer than the window, the window is as long as the map and the
        map is not rolled.
        """
        pairs = list(zip(sizes, self.window_size, strict=True))
        shift = [
            0 if length <= own else by
            for (length, own), by in zip(pairs, self.shift_size, strict=True)
        ]
        return [min(pair) for pair in pairs], shift

    def bias_on(self, sizes: Sequence[int]) -> Float[Tensor, "W H M M"]:
        """Return the bias on the logits in each of W windows; W is 1 where all are equal.

        Positions that only rolling has made neighbors do not attend to each other.
        """
        window, shift = self.windows_on(sizes)
        bias = self.get_relative_position_bias(window)  # (1, H, M, M)
        if not any(shift):
            return bias
        regions = torch.zeros((), dtype=torch.long, device=bias.device)
        for length, own, by in zip(sizes, window, shift, strict=True):
            length += -length % own
            at = torch.arange(length, device=bias.device)
            part = (at >= length - own).long() + (at >= length - by).long() if by else 0 * at
            regions = 3 * regions.unsqueeze(-1) + part  # ends as (t, h, w)
        of = split(regions[None, ..., None], window)[0, ..., 0]  # (W, M)
        apart = (of.unsqueeze(1) != of.unsqueeze(2)).unsqueeze(1)  # (W, 1, M, M)
        return bias + _APART * apart.to(bias.dtype)

    def attend(
        self, x: Float[Tensor, "B W M C"], bias: Float[Tensor, "b w H M M"]
    ) -> Float[Tensor, "B W M C"]:
        """Attend within each window.

        Args:
            x: `(B, W, M, C)`.
            bias: On the logits, `(B, W, H, M, M)`; B, or both B and W, may be 1.
        """
        shape = x.shape
        if bias.shape[1] == 1:
            x = x.flatten(0, 1).unsqueeze(1)
        parts = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(3, 0, 1, 4, 2, 5)
        query, key, value = parts.flatten(2, 3).unbind(0)  # (B, W*H, M, D) each
        mixed = F.scaled_dot_product_attention(query, key, value, bias.flatten(1, 2))
        mixed = mixed.unflatten(1, (-1, self.num_heads)).transpose(2, 3)  # (B, W, M, H, D)
        out: Tensor = self.proj(mixed.flatten(3))
        return out.view(shape)

    def forward(self, x: Float[Tensor, "B t h w C"]) -> Float[Tensor, "B t h w C"]:
        """Attend in the windows of `x (B, t, h, w, C)`."""
        sizes = x.shape[1:4]
        window, shift = self.windows_on(sizes)
        frames, rows, columns = (-length % own for length, own in zip(sizes, window, strict=True))
        x = F.pad(x, (0, 0, 0, columns, 0, rows, 0, frames))
        padded = x.shape[1:4]
        if any(shift):
            x = x.roll([-by for by in shift], (1, 2, 3))
        x = self.attend(split(x, window), self.bias_on(sizes).unsqueeze(0))
        x = _join(x, window, padded)
        if any(shift):
            x = x.roll(shift, (1, 2, 3))
        return x[:, : sizes[0], : sizes[1], : sizes[2]]


def split(x: Float[Tensor, "B t h w C"], window: Sequence[int]) -> Float[Tensor, "B W M C"]:
    """Return the windows `(B, W, M, C)` of `x (B, t, h, w, C)`, which they divide."""
    for dim, length in enumerate(window):
        x = x.unflatten(2 * dim + 1, (-1, length))
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 6).flatten(1, 3)


def _join(x: Float[Tensor, "B W M C"], window: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """Return the map `(B, t, h, w, C)` of `sizes` whose windows are `x (B, W, M, C)`."""
    counts = [length // own for length, own in zip(sizes, window, strict=True)]
    x = x.unflatten(2, list(window)).unflatten(1, counts)  # (B, T/t, H/h, W/w, t, h, w, C)
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).flatten(5, 6).flatten(3, 4).flatten(1, 2)
