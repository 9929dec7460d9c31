"""V-JEPA 2: what transformers computes, places that stay with tokens, the attentive pooler."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from src import sparsify
from src.errors import InputError
from src.export.graph import Deployed, export, largest_difference
from src.export.graph import load as load_graph
from src.modules.backbones import SparseBackbone
from src.modules.backbones.vjepa2 import SparseVJEPA2
from src.modules.layers.tokens import Tokens
from src.modules.weights import load_weights
from tests.combinations import METHODS, beside, shaken
from tests.families import SequenceFamily, assert_near
from tests.test_combinations import DRAWING
from tests.test_modules.test_eva import walked

NAME = "vjepa2_large_patch16_256"
SMALL: dict[str, Any] = {"embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 5}
CLIP: dict[str, Any] = {"img_size": 32, "patch_size": 8, "num_frames": 8, "pooler_depth": 1}
GRID = (4, 4, 4)


def network(**options: Any) -> Any:
    return timm.create_model(NAME, **SMALL | CLIP | options)


def clips(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 8, 32, 32)


def fitting() -> list[str]:
    """The methods of `conf/method` that a network without a class token does not refuse."""
    found = []
    with torch.device("meta"):
        for name in METHODS:
            with suppress(InputError):
                beside(network(), name)
                found.append(name)
    return found


def transformers_network(kind: str, **options: Any) -> Any:
    vjepa2 = pytest.importorskip("transformers.models.vjepa2")
    config = vjepa2.VJEPA2Config(
        **{"crop_size": 32, "patch_size": 8, "frames_per_clip": 8, "hidden_size": 48},
        **{"num_hidden_layers": 2, "num_attention_heads": 3, "num_pooler_layers": 1},
        **{"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1},
        **options,
    )
    made = getattr(vjepa2, kind)(config).eval()
    for parameter in made.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return made


@pytest.mark.parametrize("ratio", [4.0, 48 / 11])
@torch.no_grad()
def test_its_features_are_those_of_transformers(ratio: float, tmp_path: Path) -> None:
    theirs = transformers_network("VJEPA2Model", mlp_ratio=ratio)
    torch.save(theirs.state_dict(), tmp_path / "weights.pt")
    student = sparsify(network(depth=2, num_classes=0, mlp_ratio=ratio), method="dense").eval()
    assert not load_weights(student, tmp_path / "weights.pt").new
    seen = clips()
    expected = theirs(seen.transpose(1, 2), skip_predictor=True).last_hidden_state
    output = student(seen)
    torch.testing.assert_close(output.features, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.logits, expected.mean(dim=1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_its_classes_are_those_of_transformers(tmp_path: Path) -> None:
    theirs = transformers_network("VJEPA2ForVideoClassification", num_labels=5)
    torch.save(theirs.state_dict(), tmp_path / "weights.pt")
    student = sparsify(network(depth=2), method="dense").eval()
    assert not load_weights(student, tmp_path / "weights.pt").new
    seen = clips()
    expected = theirs(seen.transpose(1, 2)).logits
    torch.testing.assert_close(student(seen).logits, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(student.backbone(seen), expected, atol=1e-5, rtol=1e-5)
    embedder = sparsify(network(depth=2, num_classes=0), method="dense").eval()
    assert not load_weights(embedder, tmp_path / "weights.pt").new  # without the classifier


def test_an_encoder_without_a_classifier_leaves_head_and_pooler_new(tmp_path: Path) -> None:
    encoder = transformers_network("VJEPA2Model")
    torch.save(encoder.state_dict(), tmp_path / "weights.pt")
    student = sparsify(network(depth=2), method="dense")
    new = load_weights(student, tmp_path / "weights.pt").new
    assert {name.split(".")[1] for name in new} == {"head", "attn_pool"}


class TestVJEPA2(SequenceFamily):
    cases = {
        "attentive": (NAME, SMALL | CLIP),
        "mean": (NAME, SMALL | CLIP | {"global_pool": "avg", "img_size": (32, 48)}),
    }


@pytest.mark.parametrize("pooling", ["map", "avg"])
@torch.no_grad()
def test_equal_tokens_at_one_place_weigh_the_same_apart_and_merged(pooling: str) -> None:
    student = shaken(sparsify(network(global_pool=pooling), method="dense"))
    assert isinstance(student, SparseVJEPA2)
    twice = student.enter(clips(1)).select(torch.tensor([[0, 1, 1, 1, 37]]))
    merged = twice.merge(torch.tensor([[0, 1, 1, 1, 2]]), 3)
    apart, together = (student.classify(walked(student, each))[0] for each in (twice, merged))
    assert_near(together, apart)
    unweighted = student.classify(Tokens(walked(student, merged).x, prefix=0))[0]
    assert (unweighted - apart).abs().max() > 1e-3


@torch.no_grad()
def test_a_token_knows_its_place_when_others_leave() -> None:
    student = shaken(sparsify(network(), method="dense"))
    assert isinstance(student, SparseVJEPA2)
    tokens, keep = student.enter(clips()), torch.zeros(2, 64)
    index = torch.tensor([[5, 21, 63, 40], [1, 2, 3, 60]])
    removed = student.classify(walked(student, tokens.select(index)))[0]
    masked = student.classify(walked(student, tokens.mask(keep.scatter(1, index, 1.0))))[0]
    torch.testing.assert_close(removed, masked, atol=1e-5, rtol=1e-5)
    moved = student.classify(walked(student, tokens.select(index.roll(1, 1))))[0]
    torch.testing.assert_close(moved, removed, atol=1e-5, rtol=1e-5)  # order alone says nothing


@pytest.mark.parametrize("method", [name for name in fitting() if name != "dense"])
@torch.no_grad()
def test_training_computes_what_inference_computes(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of `rlt` too, whose tokens leave with their places before the first block."""
    student, seen = shaken(beside(network(), method)), clips()
    torch.manual_seed(3)
    inference = student.with_maps(seen)
    assert inference.maps[0].shape == (2, 48, *GRID)
    drawn: list[Tensor] = []

    def draw(scores: Tensor) -> Tensor:
        drawn.append(inference.decisions[len(drawn)])
        return drawn[-1]

    for module in DRAWING:
        monkeypatch.setattr(module, "gumbel_keep", draw)
    student.method.train()
    torch.manual_seed(3)
    training = student.with_maps(seen)
    assert len(inference.steps) == 3
    assert inference.size.shape[1] < 64
    assert all(map(torch.equal, training.decisions, inference.decisions))
    torch.testing.assert_close(training.logits, inference.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(training.maps, inference.maps, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["rlt"])
def test_a_graph_agrees_with_the_student(method: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    student: SparseBackbone = shaken(
        sparsify(network(depth=2), method=method, rho=0.5, locations=[1])
    )
    export(student, tmp_path / "student.onnx", 32)
    run = load_graph(tmp_path / "student.onnx")
    assert largest_difference(Deployed(student), run, 32, 3) < 1e-4
