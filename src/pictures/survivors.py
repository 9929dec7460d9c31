"""Describes what a method leaves of a few images, in a form that a page can draw."""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..datamodules.normalization import Normalization
from ..modules.backbones.base import SparseBackbone, SparseOutput
from .patch_grid import PatchGrid
from .tokens import in_a_row, seen

_SIDE = 160  # pixels of a shown image


def survivor_maps(
    student: SparseBackbone, images: Tensor, normalization: Normalization
) -> dict[str, object]:
    """Return images and what is left of them after each location.

    Args:
        student: At inference.
        images: `(B, 3, S, S)`, normalized; of clips `(B, 3, T, S, S)` the middle is shown.
        normalization: Of the images.

    Returns:
        `images` as data addresses; `columns` of patches; width and height of a `patch` as shares of
        the image's; `locations`; `decisions` for each location and image, a string
        of 0 and 1 for each patch; `sources` for each location and image, the group that each patch
        is in, or null where each patch stands for itself; null for all where none merge.
    """
    with torch.inference_mode():
        output: SparseOutput = student.eval()(images)
    images, output = in_a_row(seen(images, output), output, middle=True)
    pixels, patches = normalization.undo(images), PatchGrid.of(output, images)
    merging = bool((output.size > 1).any())
    return {
        "images": [_address(image) for image in pixels.cpu()],
        "columns": patches.columns,
        "patch": [
            patches.width / patches.columns / images.shape[-1],
            patches.height / patches.rows / images.shape[-2],
        ],
        "locations": [step.location for step in output.steps],
        "decisions": [
            ["".join(str(int(keep > 0.5)) for keep in image) for image in decision.tolist()]
            for decision in output.decisions
        ],
        "sources": [None if s.source is None else s.source.tolist() for s in output.steps]
        if merging
        else None,
    }


def _address(image: Tensor) -> str:
    array = (image.permute(1, 2, 0).float().numpy() * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(array).resize((_SIDE, _SIDE)).save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
