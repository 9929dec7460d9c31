"""Says what is wrong with images that a student cannot take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from ...errors import InputError
from ...measure.complexity import input_channels


@contextmanager
def image_errors_named(
    images: object, network: nn.Module, sides: Callable[[], tuple[int, ...]]
) -> Iterator[None]:
    """Turn errors inside into an `InputError` where `image_fault` finds fault with `images`.

    `sides` is asked after an error only, and may raise an `InputError`: not every network knows
    for which images it was made.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of torch and timm, which meet wrong images in many places
        try:
            known = sides()
        except InputError:
            known = None
        if fault := image_fault(images, network, known):
            raise InputError(fault) from error
        raise


def image_fault(images: object, network: nn.Module, sides: tuple[int, ...] | None) -> str:
    """Return a sentence on what is wrong with `images`; empty if nothing is found.

    Args:
        images: What was given for `(B, C, H, W)`, or for clips `(B, C, T, H, W)`.
        network: That should take them.
        sides: Height and width that it was made for, of clips the number of frames before them;
            None for a network of images that does not know.
    """
    channels, dimensions = input_channels(network), 4 if sides is None else len(sides) + 2
    shape = f"(B, {channels}, {'H, W' if sides is None else ', '.join(map(str, sides))})"
    if not isinstance(images, Tensor):
        return f"images is a {type(images).__name__}: give a tensor {shape}."
    found = tuple(images.shape)
    if images.ndim != dimensions or images.shape[1] != channels:
        return f"images has the shape {found}: give {shape}."
    if not images.numel():
        return f"images has the shape {found}, which holds none: give {shape}."
    weight = next((p for p in network.parameters() if p.is_floating_point()), None)
    if weight is None:
        return ""
    if not images.is_floating_point():
        return f"images is of {images.dtype}: give normalized numbers (student.preprocessing)."
    for what, own, asked in (
        ("of", images.dtype, weight.dtype),
        ("on", images.device, weight.device),
    ):
        if own != asked:
            return f"images is {what} {own}, and the network {what} {asked}: move one of them."
    if sides is not None and found[2:] != sides:
        return f"images has the shape {found}, which this network does not take: give {shape}."
    return ""
