"""Clips: VideoMAE, every method of sequences on it, run-length tokenization, the task."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from src import create_student, load, sparsify
from src.config import compose_config, instantiate
from src.datamodules.normalization import Normalization
from src.errors import InputError
from src.export.graph import Deployed, export, largest_difference
from src.export.graph import load as load_graph
from src.measure.complexity import count_gmacs
from src.modules.backbones import SparseBackbone
from src.modules.methods.rlt import changes
from src.modules.schedules import KeepSchedule
from src.modules.video import SparseVideoClassifier
from src.modules.weights import load_weights
from src.pictures import draw_token_maps
from src.pictures.survivors import survivor_maps
from src.pictures.tokens import in_a_row
from tests.combinations import METHODS, beside, shaken
from tests.test_combinations import DRAWING

NAME = "videomae_micro_patch8_32"
TINY: dict[str, Any] = {"embed_dim": 48, "depth": 4, "num_classes": 5}
GRID = (4, 4, 4)  # of 8 frames of 32 pixels


def network(**options: Any) -> Any:
    return timm.create_model(NAME, **TINY | options)


def fitting() -> list[str]:
    """The methods of `conf/method` that VideoMAE, which has no class token, does not refuse."""
    found = []
    with torch.device("meta"):
        for name in METHODS:
            with suppress(InputError):
                beside(network(), name)
                found.append(name)
    return found


def test_methods_of_sequences_fit_clips() -> None:
    assert {"cropr", "dynamicvit", "query_cells", "rlt", "structural", "tome"} <= set(fitting())
    assert not {"attention", "evit", "asymmetric"} & set(fitting())


def still(batch: int = 2) -> Tensor:
    """Clips `(B, 3, 8, 32, 32)` of one repeated frame."""
    return torch.randn(batch, 3, 1, 32, 32).expand(-1, -1, 8, -1, -1)


def released(name: str) -> str:
    """What MCG-NJU's checkpoints call a tensor that transformers' 4.x calls `name`."""
    for theirs, own in {
        "videomae.": "",
        "embeddings.patch_embeddings.projection": "patch_embed.proj",
        "encoder.layer": "blocks",
        "attention.output.dense": "attn.proj",
        "attention.attention": "attn",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "classifier": "head",
    }.items():
        name = name.replace(theirs, own, 1)
    return name


def stored(weights: dict[str, Tensor], form: str) -> dict[str, Tensor]:
    """Weights of transformers' installed version under the names of another."""
    weights = {key: value for key, value in weights.items() if not key.endswith("key.bias")}
    if form == "transformers 5.12":  # a bias of the keys, which the softmax cancels
        queries = [key for key in weights if key.endswith("query.bias")]
        return weights | {key.replace("query", "key"): 0 * weights[key] + 0.5 for key in queries}
    if form == "transformers 5":
        return weights
    short = {re.sub(r"\.(query|value)\.bias$", lambda m: f".{m[1][0]}_bias", k) for k in weights}
    older = dict(zip(sorted(short), [weights[k] for k in sorted(weights, key=_short)], strict=True))
    if form == "transformers 4":
        return older
    found = {released(key): value for key, value in older.items()}
    for block in range(2):
        parts = [found.pop(f"blocks.{block}.attn.{n}.weight") for n in ("query", "key", "value")]
        found[f"blocks.{block}.attn.qkv.weight"] = torch.cat(parts)
    return found


def _short(name: str) -> str:
    return re.sub(r"\.(query|value)\.bias$", lambda m: f".{m[1][0]}_bias", name)


@pytest.mark.parametrize(
    "form", ["transformers 5", "transformers 5.12", "transformers 4", "released"]
)
@torch.no_grad()
def test_it_computes_what_transformers_does(form: str, tmp_path: Path) -> None:
    videomae = pytest.importorskip("transformers.models.videomae")
    config = videomae.VideoMAEConfig(
        **{"image_size": 32, "patch_size": 8, "num_frames": 8, "hidden_size": 48, "num_labels": 5},
        **{"num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 192},
        layer_norm_eps=1e-6,
    )
    theirs = videomae.VideoMAEForVideoClassification(config).eval()
    for parameter in theirs.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    theirs.fc_norm.eps = 1e-6  # of the released code
    weights = stored(theirs.state_dict(), form)
    assert any(key.endswith("q_bias") for key in weights) == (form[:14] != "transformers 5")
    torch.save({"module": weights} if form == "released" else weights, tmp_path / "weights.pt")
    student = sparsify(network(depth=2), method="dense").eval()
    assert not load_weights(student, tmp_path / "weights.pt").new
    of_keys = student.backbone.blocks[0].attn.qkv.bias[48:96]
    assert (of_keys == (0.5 if form == "transformers 5.12" else 0)).all()
    clips = torch.randn(2, 3, 8, 32, 32)
    expected = theirs(clips.transpose(1, 2)).logits
    torch.testing.assert_close(student(clips).logits, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(student.backbone(clips), expected, atol=1e-5, rtol=1e-5)


def test_a_pretrained_encoder_fills_all_but_the_head(tmp_path: Path) -> None:
    first, second = network(depth=2), sparsify(network(depth=2), method="dense")
    weights = {f"encoder.{k}".replace("fc_norm", "norm"): v for k, v in first.state_dict().items()}
    weights = {key: value for key, value in weights.items() if ".head" not in key}
    weights |= {"decoder.norm.weight": torch.ones(3), "mask_token": torch.ones(1, 1, 3)}
    torch.save({"model": weights}, tmp_path / "weights.pt")
    new = load_weights(second, tmp_path / "weights.pt").new
    assert set(new) == {"backbone.head.weight", "backbone.head.bias"}
    assert torch.equal(second.backbone.blocks[1].attn.qkv.weight, first.blocks[1].attn.qkv.weight)


@pytest.mark.parametrize("method", [name for name in fitting() if name != "dense"])
@torch.no_grad()
def test_training_computes_what_inference_computes(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exactly where tokens are removed, to 1e-5 where they are masked in training."""
    student = shaken(beside(network(), method))
    clips = torch.randn(2, 3, 8, 32, 32)
    torch.manual_seed(3)
    inference = student.with_maps(clips)
    assert inference.maps[0].shape == (2, 48, *GRID)
    drawn: list[Tensor] = []

    def draw(scores: Tensor) -> Tensor:
        drawn.append(inference.decisions[len(drawn)])
        return drawn[-1]

    for module in DRAWING:
        monkeypatch.setattr(module, "gumbel_keep", draw)
    student.method.train()
    torch.manual_seed(3)
    training = student.with_maps(clips)
    assert len(inference.steps) == 3
    assert inference.size.shape[1] < 64
    close = {"atol": 1e-5, "rtol": 1e-5} if drawn else {"atol": 1e-6, "rtol": 0.0}
    assert all(map(torch.equal, training.decisions, inference.decisions))
    torch.testing.assert_close(training.logits, inference.logits, **close)
    torch.testing.assert_close(training.maps, inference.maps, **close)


def run_length(**options: Any) -> SparseBackbone:
    return shaken(sparsify(network(), method="rlt", **options))


@pytest.mark.parametrize("options", [{"threshold": 0}, {"rho": 1}])
@torch.no_grad()
def test_run_lengths_of_one_change_nothing(options: dict[str, float]) -> None:
    student, clips = run_length(**options), torch.randn(2, 3, 8, 32, 32)
    torch.testing.assert_close(student(clips).logits, student.backbone(clips), atol=1e-6, rtol=0)
    assert (student(still()).size == 1).all()


@pytest.mark.parametrize("options", [{"threshold": 0.1}, {"rho": 0.1}])
@torch.no_grad()
def test_what_stands_still_is_seen_once(options: dict[str, float]) -> None:
    output = run_length(**options)(still())
    assert torch.equal(output.size, torch.full((2, 16), 4.0))
    places = output.source.unflatten(1, GRID)
    assert torch.equal(places, places[:, :1].expand_as(places))
    assert all((decision == 1).all() for decision in output.decisions)


@torch.no_grad()
def test_a_survivor_stays_as_it_is() -> None:
    student, clips = run_length(threshold=0.1), still()
    tokens = student.enter(clips)  # type: ignore[operator]
    left = student.method.after_embedding(clips, tokens)  # type: ignore[operator]
    torch.testing.assert_close(left.x, tokens.x[:, :16])
    steady = torch.arange(8.0).view(1, 1, 8, 1, 1).expand(1, 3, 8, 32, 32)
    assert (changes(steady, GRID)[:, 1:] == 3).all()  # from frame 0 to 3, from 2 to 5


@torch.no_grad()
def test_survivors_are_what_changes_and_their_runs_end_at_the_next() -> None:
    clips = still().clone()
    clips[0, :, 4:, 8:16, :8] += 1.0  # the tubelet of frames 4 and 5 at row 1, column 0
    clips[1, :, 2:, :8, 24:] += 1.0
    clips[1, :, 6:, :8, 24:] += 1.0
    change = changes(clips, GRID)
    assert change[:, 0].isinf().all()
    assert change[0, 2, 1, 0] == change[1, 1, 0, 3] == 1
    student = run_length(threshold=0.5)
    output = student(clips)
    places = output.source.unflatten(1, GRID)
    sizes = output.size.gather(1, output.source).unflatten(1, GRID)
    assert sizes[0, :, 1, 0].tolist() == [2, 2, 2, 2]
    assert sizes[1, :, 0, 3].tolist() == [1, 2, 2, 1]
    assert places[0, 1, 1, 0] == places[0, 0, 1, 0] != places[0, 2, 1, 0] == places[0, 3, 1, 0]
    assert [count.tolist() for count in output.counts] == [[17, 18]] * 3
    assert output.size.sum(dim=1).tolist() == [64, 64]
    assert output.size[0, -1] == 0  # filled up to the other clip's number
    torch.testing.assert_close(student(clips[:1]).logits, output.logits[:1], atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_fixed_share_keeps_what_changes_most() -> None:
    student, clips = run_length(rho=0.5, schedule="linear"), torch.randn(2, 3, 8, 32, 32)
    output = student(clips)
    kept = output.size.shape[1]
    assert kept == 32
    assert student.method.schedule.ratios == (0.5, 0.5, 0.5)
    first = output.source.unflatten(1, GRID).permute(0, 2, 3, 1).flatten(1)
    starts = F.pad(first.diff(dim=1) > 0, (1, 0), value=True)
    change = changes(clips, GRID).permute(0, 2, 3, 1).flatten(1)
    assert (change[starts].view(2, 32).amin(1) >= change[~starts].view(2, 32).amax(1)).all()
    student.rho = 0.75
    assert student(clips).size.shape[1] == 48
    student.method.schedule = KeepSchedule((1, 3), (0.25, 0.1))
    output = student(clips)
    assert output.size.shape[1] == 16
    assert [(step.ratio, step.count.tolist()) for step in output.steps] == [(0.25, [16, 16])] * 2
    assert "RLT, keeps 0.25 of the tubelets from the first block on" in repr(student)


@pytest.mark.parametrize("name", ["videomae_micro_patch8_32", "vjepa2_large_patch16_256"])
@torch.no_grad()
def test_a_margin_around_clips_changes_nothing(name: str) -> None:
    patch = 8 if "micro" in name else 16
    small = {} if patch == 8 else {"embed_dim": 96, "depth": 4, "num_heads": 3, "num_frames": 8}
    torch.manual_seed(0)
    options = {"num_classes": 5, "img_size": 4 * patch + 6, **small}
    network = timm.create_model(name, **options).eval()
    student = sparsify(network, method="rlt", rho=0.5).eval()
    clips = torch.randn(2, 3, network.patch_embed.num_frames, 4 * patch + 6, 4 * patch + 6)
    output = student(clips)
    assert output.covered == (4 * patch, 4 * patch)
    clips[..., 4 * patch :] = 9.0
    clips[..., 4 * patch :, :] = 9.0
    assert torch.equal(student(clips).logits, output.logits)
    halves = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert draw_token_maps(clips, output, halves).width > 4 * 4 * patch


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["rlt", "query_absorb"])
def test_a_graph_agrees_with_the_student(method: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    student = shaken(sparsify(network(depth=2), method=method, rho=0.5, locations=[1]))
    export(student, tmp_path / "student.onnx", 32)
    run = load_graph(tmp_path / "student.onnx")
    assert largest_difference(Deployed(student), run, 32, 3) < 1e-4


@torch.no_grad()
def test_cost_is_that_of_a_clip_and_a_file_brings_the_student_back(tmp_path: Path) -> None:
    student = create_student("video_micro", method="rlt", rho=0.5, num_classes=5).eval()
    assert student.input_sides() == (8, 32, 32)
    assert student.gmacs() < 0.52 * count_gmacs(student.backbone, (8, 32, 32))
    by_threshold = sparsify(network(), method="rlt", threshold=0.1)
    assert by_threshold.gmacs() == pytest.approx(by_threshold.dense_copy().gmacs())
    student.save(tmp_path / "student.safetensors")
    again, clips = load(tmp_path / "student.safetensors").eval(), torch.randn(1, 3, 8, 32, 32)
    assert torch.equal(again(clips).logits, student(clips).logits)


@torch.no_grad()
def test_pictures_show_the_frames_of_a_clip_in_a_row() -> None:
    student, clips = run_length(threshold=0.1), still(1)
    frames = torch.arange(4.0).repeat_interleave(2).view(1, 1, 8, 1, 1)
    output = student(clips)
    strip, laid = in_a_row(0 * clips + frames, output)
    assert strip.shape == (1, 3, 32, 128)
    assert strip[0, 0, 0, ::32].tolist() == [0, 1, 2, 3]
    rows = laid.steps[0].source.view(4, 4, 4)  # row, time, column
    assert torch.equal(rows, rows[:, :1].expand_as(rows))
    as_is = Normalization((0.0,) * 3, (1.0,) * 3)
    assert draw_token_maps(clips, output, as_is).width > 256
    maps = survivor_maps(student, clips, as_is)
    assert len(maps["decisions"][0][0]) == len(maps["sources"][0][0]) == 16


def module(*overrides: str) -> Any:
    keys = ["task", "loss", "datamodule"]
    settings = compose_config(["task=video", "backbone.weights=null", *overrides], keys)
    return instantiate(settings["task"], num_classes=15)


@torch.no_grad()
def test_the_probabilities_of_views_are_averaged() -> None:
    task = module("method=rlt").eval()
    assert isinstance(task, SparseVideoClassifier)
    views = torch.randn(2, 3, 3, 8, 32, 32)
    logits = task(views).logits
    expected = torch.stack([task(view).logits.softmax(-1) for view in views.unbind(1)]).mean(0)
    torch.testing.assert_close(logits.softmax(-1), expected)
    step = task.validation_step((views, torch.tensor([3, 4])), 0)
    assert step["kept"].shape == (3, 6)
    assert set(task.percentages(task.metrics["val_split"])) == {"acc1", "acc5"}


REFUSALS = {
    "rlt needs clips": lambda: create_student("vit_micro", method="rlt"),
    "class token": lambda: create_student("video_micro", method="evit"),
    "multiple of the 2 frames": lambda: network(num_frames=7),
    "not a batch of clips": lambda: network()(torch.zeros(1, 3, 32, 32)),
    "with 8 frames of 32x32": lambda: network()(torch.zeros(1, 3, 16, 32, 32)),
    "takes single images, and this task": lambda: module("backbone=vit_micro"),
    "shapes depend on the clip": lambda: export(
        sparsify(network(), method="rlt", threshold=0.1), Path("student.onnx"), 32
    ),
    "threshold=-1": lambda: create_student("video_micro", method="rlt", threshold=-1),
}


@pytest.mark.parametrize("words", REFUSALS)
def test_what_does_not_fit_is_refused_by_a_sentence(words: str) -> None:
    expected = words if words != "rlt needs clips" else "reads how pixels change in time"
    with pytest.raises(InputError, match=expected):
        REFUSALS[words]()
