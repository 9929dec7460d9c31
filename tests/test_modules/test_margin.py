"""Images that are no whole number of patches: the margin is dropped as by timm."""

import logging

import pytest
import timm
import torch

from src.datamodules.normalization import Normalization
from src.errors import InputError
from src.modules import sparsify
from src.modules.networks.create import build_network
from src.modules.student import build_student
from src.pictures import draw_token_maps
from src.pictures.survivors import survivor_maps
from src.pictures.tokens import _GAP, _HEADER, seen

SMALL = {"embed_dim": 64, "num_heads": 4, "depth": 4, "num_classes": 5}
NETWORKS = {"vit": "vit_base_patch14_reg4_dinov2", "eva": "eva02_tiny_patch14_224"}
SCHEDULE = {"_target_": "src.modules.schedules.geometric", "rho": 0.5, "locations": [1, 2]}


@pytest.fixture(params=NETWORKS, name="network")
def _network(request):
    torch.manual_seed(0)
    return timm.create_model(NETWORKS[request.param], **SMALL, img_size=48).eval()


@torch.no_grad()
def test_it_is_timm_exactly_and_said_once(network, caplog):
    images = torch.randn(2, 3, 48, 48)
    with caplog.at_level(logging.WARNING):
        student = sparsify(network, method="dense").eval()
    assert torch.equal(student(images).logits, network(images))
    said = [record.message for record in caplog.records if "margin" in record.message]
    assert len(said) == 1
    assert said[0].startswith(
        "img_size=48 is not a multiple of the patch size 14: a margin of 6 pixels"
    )


@torch.no_grad()
def test_pixels_of_the_margin_change_nothing(network):
    images = torch.randn(2, 3, 48, 48)
    student = sparsify(network, rho=0.5).eval()
    logits = student(images).logits
    images[..., 42:] = 9.0
    images[..., 42:, :] = 9.0
    assert torch.equal(student(images).logits, logits)


@torch.no_grad()
def test_pictures_show_what_patches_cover(network):
    """The patch in the last row and column, kept alone, lies at pixels 28 to 41."""
    student = sparsify(network, ratios=(1 / 9,), locations=(1,), method="static").eval()
    student.method.selector.scores.data.zero_()[0, 8] = 1.0
    images = torch.ones(1, 3, 48, 48)
    output = student(images)
    assert output.covered == (42, 42)
    assert seen(images, output).shape[-2:] == (42, 42)
    halves = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    picture = draw_token_maps(-images, output, halves)  # black, dropped patches are pale
    side = (picture.width - 3 * _GAP) // 2

    def shown(pixel):
        at = int((pixel + 0.5) / 42 * side)
        return picture.getpixel((2 * _GAP + side + at, _HEADER + _GAP + at))[0]

    assert [shown(pixel) > 100 for pixel in (0, 27, 28, 41)] == [True, True, False, False]
    maps = survivor_maps(student, images, halves)
    assert maps["decisions"] == [["000000001"]]


def test_whole_patches_cover_all():
    network = timm.create_model(NETWORKS["vit"], **SMALL, img_size=42).eval()
    assert sparsify(network).eval()(torch.randn(1, 3, 42, 42)).covered is None


def backbone(network, size, **options):
    return {"network": network, "image_size": size, "pretrained": False, "options": options}


@pytest.mark.parametrize(("size", "words"), [(100, "choose 98 or 112"), (10, "choose 14")])
def test_a_typed_size_with_a_margin_is_refused(size, words):
    small = {"embed_dim": 64, "num_heads": 4, "depth": 4}
    with pytest.raises(InputError) as error:
        build_network(backbone("vit_base_patch14_dinov2", size, **small), 5, False)
    assert f"backbone.image_size={size} is not a multiple of the patch size 14" in str(error.value)
    assert words in str(error.value)


def test_the_size_that_timm_made_it_for_is_taken(caplog):
    name = "vit_so400m_patch14_siglip_gap_384"
    small = {"embed_dim": 64, "num_heads": 4, "depth": 4}
    method = {"_target_": "src.modules.methods.dynamicvit.DynamicViT"}
    with caplog.at_level(logging.WARNING), torch.device("meta"):
        student = build_student(backbone(name, 384, **small), method, SCHEDULE, 5)
    assert student.backbone.patch_embed.grid_size == (27, 27)
    assert sum("margin of 6 pixels" in record.message for record in caplog.records) == 1
    logits = student.eval()(torch.empty(1, 3, 384, 384, device="meta")).logits
    assert logits.shape == (1, 5)
