"""A vision transformer of images over the frames of a clip."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

from src import create_student, sparsify
from src.datamodules.normalization import Normalization
from src.errors import InputError
from src.modules.weights import load_weights
from src.pictures import draw_token_maps
from tests.combinations import shaken

TINY: dict[str, Any] = {"embed_dim": 48, "depth": 4, "num_classes": 5, "img_size": 32}
TINY |= {"patch_size": 8}


def network() -> Any:
    return timm.create_model("frames_vit_tiny_patch16_224", num_frames=3, **TINY)


@torch.no_grad()
def test_weights_of_images_answer_for_the_mean_of_the_frames(tmp_path: Any) -> None:
    image = VisionTransformer(num_heads=3, **TINY).eval()
    torch.save(image.state_dict(), tmp_path / "image.pt")
    student = sparsify(network(), method="dense").eval()
    assert not load_weights(student, tmp_path / "image.pt").new
    clips = torch.randn(2, 3, 3, 32, 32)
    expected = torch.stack([image(clips[:, :, frame]) for frame in range(3)]).mean(0)
    for one in (student(clips).logits, student.backbone(clips)):
        torch.testing.assert_close(one, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("method", ["query_absorb", "cropr"])
@torch.no_grad()
def test_each_frame_is_reduced_by_itself(method: str) -> None:
    student = shaken(sparsify(network(), method=method, rho=0.5))
    clips = torch.randn(2, 3, 3, 32, 32)
    output = student.with_maps(clips)
    alone = create_alone(student)
    assert student.input_sides() == (3, 32, 32)
    assert output.maps[0].shape == (2, 48, 3, 4, 4)
    assert output.features.shape == (2, 6, 48)
    for frame in range(3):
        one = alone(clips[:, :, frame])
        own = slice(16 * frame, 16 * frame + 16)
        for step, of_frame in zip(output.steps, one.steps, strict=True):
            assert torch.equal(step.keep[:, own], of_frame.keep)
            torch.testing.assert_close(step.shares()[:, own], of_frame.shares())
        torch.testing.assert_close(output.size[:, 2 * frame : 2 * frame + 2], one.size)
        there = one.source >= 0
        found = output.features.gather(
            1, output.source[:, own].clamp(min=0).unsqueeze(-1).expand(-1, -1, 48)
        )
        expected = one.features.gather(1, one.source.clamp(min=0).unsqueeze(-1).expand(-1, -1, 48))
        torch.testing.assert_close(found[there], expected[there])
    assert [count.tolist() for count in output.counts] == [[24, 24], [12, 12], [6, 6]]
    as_is = Normalization((0.0,) * 3, (1.0,) * 3)
    assert draw_token_maps(clips, output, as_is).width > 3 * 64


def create_alone(student: Any) -> Any:
    """A student of single images with the same weights."""
    image = sparsify(VisionTransformer(num_heads=3, **TINY), rho=0.5, method="dense")
    image.backbone.load_state_dict(student.backbone.state_dict())
    image.method = student.method
    return image.eval()


def test_refusals() -> None:
    with pytest.raises(InputError, match="takes single images"):
        sparsify(network(), method="rlt")
    with pytest.raises(InputError, match="with 3 frames"):
        network()(torch.zeros(1, 3, 2, 32, 32))
    with pytest.raises(InputError, match="num_frames=0"):
        timm.create_model("frames_vit_tiny_patch16_224", num_frames=0)


def test_cost_is_that_of_all_frames() -> None:
    with torch.device("meta"):
        student = create_student("frames_vit_s", rho=0.7)
    assert student.gmacs() < 30 < 36 < student.dense_copy().gmacs() < 37.5
