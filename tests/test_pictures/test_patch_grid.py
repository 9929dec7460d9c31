"""Where the patches of an output lie in pictures of its images."""

from __future__ import annotations

import pytest
import timm
import torch

from src.datamodules.normalization import Normalization
from src.errors import InputError
from src.modules import sparsify
from src.modules.backbones import SparseBackbone
from src.pictures import draw_token_maps
from src.pictures.masks import masked_images
from src.pictures.patch_grid import PatchGrid
from src.pictures.tokens import seen, survivors

PLAIN = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
ANY_SIZE = {"dynamic_img_size": True, "dynamic_img_pad": True}


def student(method: str = "norm", **options: object) -> SparseBackbone:
    torch.manual_seed(0)
    small = {"img_size": 64, "depth": 2, "embed_dim": 64, "num_heads": 4}
    network = timm.create_model("vit_tiny_patch16_224", **small, **options)
    return sparsify(network, method=method, ratios=(0.5,), locations=(1,)).eval()


@pytest.mark.parametrize(
    ("size", "options", "grid"),
    [
        ((64, 64), {}, PatchGrid(4, 4, 64, 64)),
        ((64, 64), {"patch_size": (4, 16)}, PatchGrid(16, 4, 64, 64)),
        ((64, 64), {"patch_size": (8, 16)}, PatchGrid(8, 4, 64, 64)),
        ((17, 32), ANY_SIZE, PatchGrid(2, 2, 32, 32)),
        ((33, 48), ANY_SIZE, PatchGrid(3, 3, 48, 48)),
        ((97, 131), ANY_SIZE, PatchGrid(7, 9, 112, 144)),
    ],
)
@torch.no_grad()
def test_what_is_kept_is_drawn_where_it_lies(
    size: tuple[int, int], options: dict[str, object], grid: PatchGrid
) -> None:
    """Each dropped patch is pale in its own pixels alone."""
    network, images = student(**options), torch.zeros(2, 3, *size)
    images += torch.rand_like(images) * 0.01
    output = network(images)
    assert PatchGrid.of(output, images) == grid
    (picture,) = survivors(images, output, PLAIN)
    height, width = grid.height // grid.rows, grid.width // grid.columns
    keep = output.steps[0].keep.unflatten(1, (grid.rows, grid.columns))
    for row in range(size[0]):
        expected = keep[:, row // height].repeat_interleave(width, dim=1)[:, : size[1]]
        assert torch.equal((picture[:, 0, row] < 0.5).float(), expected)
    assert draw_token_maps(images, output, PLAIN).height > 0


@torch.no_grad()
def test_patches_that_merge_have_their_mean_color_at_the_edge_too() -> None:
    network = student(method="structural", **ANY_SIZE)
    images = torch.zeros(1, 3, 40, 40)  # 3 x 3 patches of 16, of which 8 pixels are padded
    images[..., 16:] = 0.75
    (picture,) = survivors(images, network(images), PLAIN)
    assert picture[0, 0, :32, :32].unique().tolist() == [0.375]
    assert picture[0, 0, :32, 32:].unique().tolist() == [0.75]


@pytest.mark.parametrize("name", ["convnext_atto", "poolformer_s12"])
@torch.no_grad()
def test_hierarchical_networks_of_odd_sizes(name: str) -> None:
    network = sparsify(timm.create_model(name)).eval()
    images = torch.rand(1, 3, 97, 131)
    output = network(images)
    grid = PatchGrid.of(output, images)
    assert (grid.height, grid.width) == (16 * grid.rows, 16 * grid.columns) == output.covered
    assert grid.rows * grid.columns == output.steps[0].keep.shape[1]
    shown = survivors(seen(images, output), output, PLAIN)
    assert shown[0].shape[-2:] == (min(97, grid.height), min(131, grid.width))


@torch.no_grad()
def test_other_outputs_are_refused() -> None:
    network, images = student(), torch.rand(2, 3, 64, 64)
    with pytest.raises(InputError, match=r"^output is a Tensor: give what the student returns"):
        draw_token_maps(images, network.backbone(images), PLAIN)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^output is of 2 images, and 1 are given"):
        draw_token_maps(images[:1], network(images), PLAIN)


@torch.no_grad()
def test_masks_lie_where_pictures_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wandb.Image", lambda image, masks: masks)
    network, images = student(patch_size=(8, 16)), torch.rand(1, 3, 64, 64)
    output = network(images)
    (masks,) = masked_images(images, output, PLAIN)
    keep = output.steps[0].keep[0].unflatten(0, (8, 4))
    assert torch.equal(torch.as_tensor(masks["block 1"]["mask_data"])[::8, ::16].float(), keep)
