"""Video Swin: against torchvision's, its paths and windows, files, the task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import timm
import torch
from omegaconf import OmegaConf
from timm.models import _builder
from torch import Tensor, nn
from torchvision.models import video
from torchvision.models.video.swin_transformer import SwinTransformer3d

from src import create_student, load, sparsify
from src.config import instantiate
from src.datamodules.normalization import Normalization
from src.errors import InputError
from src.export.graph import Deployed, export, largest_difference
from src.export.graph import load as load_graph
from src.measure.complexity import count_gmacs
from src.modules.backbones import SparseBackbone
from src.modules.layers.windows import PADDING
from src.modules.weights import load_weights
from src.pictures import draw_token_maps
from src.pictures.tokens import in_a_row
from tests.combinations import beside, shaken
from tests.families import SpatialFamily, assert_near, make_network
from tests.test_configs import composed

SMALL: dict[str, Any] = {"embed_dim": 16, "depths": (1, 1, 4), "num_heads": (1, 2, 4)}
SMALL |= {"num_classes": 5, "drop_path_rate": 0.0}
CASES: dict[str, dict[str, Any]] = {
    "divided": {"num_frames": 8, "img_size": 64, "window_size": (2, 2, 2)},
    "padded": {"num_frames": 6, "img_size": (48, 64), "window_size": (2, 2, 3)},
    "larger_than_the_map": {"num_frames": 8, "img_size": 64, "window_size": (8, 3, 3)},
}
# Sizes that patches do not divide, and that halve to odd ones.
ODD = {"num_frames": 7, "img_size": (42, 52), "window_size": (3, 3, 2)}


@pytest.fixture(params=[*CASES, "odd"], name="size")
def _size(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {**CASES, "odd": ODD}[request.param]


def small(size: dict[str, Any], **options: Any) -> Any:
    return make_network(("swin3d_t", SMALL | size | options))


def clips_for(student: SparseBackbone, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, *student.input_sides())


def of_torchvision(size: dict[str, Any]) -> SwinTransformer3d:
    """Torchvision's network with the weights of ours, which differ from an untrained one's."""
    network = SwinTransformer3d(
        patch_size=[2, 4, 4],
        embed_dim=16,
        depths=[1, 1, 4],
        num_heads=[1, 2, 4],
        window_size=list(size["window_size"]),
        num_classes=5,
    )
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network.eval()


class TestVideoSwin(SpatialFamily):
    cases = {name: ("swin3d_t", SMALL | size) for name, size in CASES.items()}


@torch.no_grad()
def test_weights_of_torchvision_compute_the_same(size: dict[str, Any], tmp_path: Path) -> None:
    theirs = of_torchvision(size)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    student = sparsify(small(size), method="dense").eval()
    assert not load_weights(student, tmp_path / "theirs.pth").new
    clips = clips_for(student)
    assert_near(student(clips).logits, theirs(clips))
    sides = student.input_sides()
    assert student.gmacs() == count_gmacs(theirs, sides) > 0


@pytest.mark.slow  # two networks of 28 M parameters
@torch.no_grad()
def test_at_its_real_size_it_is_torchvisions() -> None:
    theirs = video.swin3d_t(num_classes=7).eval()
    network = timm.create_model("swin3d_t", num_classes=7, num_frames=8, img_size=64)
    network.load_state_dict(theirs.state_dict())
    student, clips = sparsify(network, method="dense").eval(), torch.randn(1, 3, 8, 64, 64)
    assert_near(student(clips).logits, theirs(clips))


@pytest.mark.parametrize(
    ("name", "gmacs"),
    [
        ("t", 87.8),
        pytest.param("s", 165.7, marks=pytest.mark.slow),
        pytest.param("b", 281.3, marks=pytest.mark.slow),
    ],
)
def test_students_by_name_cost_what_the_paper_says(name: str, gmacs: float) -> None:
    with torch.device("meta"):
        student = create_student(f"swin3d_{name}", rho=0.7)
        theirs = getattr(video, f"swin3d_{name}")()
    assert student.backbone.state_dict().keys() == theirs.state_dict().keys()
    assert student.method.schedule.locations == {"t": (1, 2, 3)}.get(name, (2, 4, 6))
    dense = student.dense_copy().gmacs()
    assert dense == pytest.approx(gmacs, abs=0.1)
    assert dense == count_gmacs(theirs, (32, 224, 224))
    # Of the third stage's MLPs, 3136 positions take the fast path, an eighth of the cost.
    dim = {"t": 384, "s": 384, "b": 512}[name]
    step, depth = {"t": (1, 6)}.get(name, (2, 18))
    skipped = step * (0.3 + 0.5) + (depth - 3 * step) * 0.7
    predictors = 3 * 3136 * (dim**2 + dim**2 // 2 + dim**2 // 8 + dim // 2) / 1e9
    saved = skipped * 3136 * (8 - 1) * dim**2 / 1e9
    assert student.gmacs() == pytest.approx(dense - saved + predictors, rel=1e-3)


def skipping(network: nn.Module, method: str = "windows", **options: Any) -> SparseBackbone:
    student = sparsify(network, method=method, **options)
    for parameter in student.method.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return student.eval()


@pytest.mark.parametrize("fast_path", ["identity", "linear"])
@torch.no_grad()
def test_computed_windows_are_the_dense_blocks(size: dict[str, Any], fast_path: str) -> None:
    """Windows do not see each other: a block on some equals the dense block there."""
    student: Any = skipping(small(size), fast_path=fast_path)
    clips = clips_for(student, 3)
    first, second, third = student.stages()
    x = second.downsample(first.blocks(student.stem(clips)))
    x = third.downsample(second.blocks(x))
    score, passed_by = None, 0
    for layer, block in enumerate(third.blocks):
        score = student.method.route(layer, student.positions(x)) or score
        dense = block(x)
        if score is None:
            x = dense
            continue
        windows = student.windows(block, x)
        inside = windows[windows != PADDING]
        assert inside.sort().values.tolist() == list(range(x[0, ..., 0].numel()))
        keep = score.among(windows).decision
        passed_by += int((keep == 0).sum())
        rows = student.positions(x)
        passed = rows + student.method.fast(layer, rows)
        chosen = torch.where(keep.bool().unsqueeze(-1), student.positions(dense), passed)
        x = chosen.view_as(x)
    assert passed_by
    assert_near(student(clips).logits, student.tail(x)[0])
    assert (student(clips).logits - student.backbone(clips)).abs().max() > 1e-3


@torch.no_grad()
def test_all_windows_are_the_dense_network(size: dict[str, Any]) -> None:
    student = skipping(small(size), "query_windows", ratios=[1.0, 1.0, 1.0])
    clips = clips_for(student)
    assert torch.equal(student(clips).logits, student.backbone(clips))


def test_skipped_windows_leave_no_parameter_out() -> None:
    student = skipping(small(CASES["padded"]), "query_windows").train()
    output = student(clips_for(student))
    learned = sum(summary.sum() for summary in output.summaries)
    (output.logits.square().sum() + learned).backward()
    for name, parameter in student.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@torch.no_grad()
def test_low_precision_keeps_as_many() -> None:
    student = shaken(sparsify(small(CASES["divided"])))
    clips = clips_for(student)
    exact = student(clips)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = student(clips)
    pure = student.bfloat16()(clips.bfloat16())
    assert pure.logits.dtype == torch.bfloat16
    for output in (mixed, pure):
        assert output.logits.isfinite().all()
        assert [c.tolist() for c in output.counts] == [c.tolist() for c in exact.counts]


@torch.no_grad()
def test_pictures_show_the_patches_of_all_frames() -> None:
    student = shaken(sparsify(small(ODD)))
    clips = clips_for(student)
    output = student(clips)
    assert output.grid == (4, 3, 4)
    assert output.steps[0].keep.shape == (2, 48)
    strip, laid = in_a_row(clips, output)
    assert strip.shape == (2, 3, 42, 4 * 52)
    rows = output.steps[0].keep.view(2, 4, 3, 4).transpose(1, 2)  # row, time, column
    assert torch.equal(laid.steps[0].keep, rows.flatten(1))
    as_is = Normalization((0.0,) * 3, (1.0,) * 3)
    assert draw_token_maps(clips, output, as_is).width > 4 * 52


@torch.no_grad()
def test_a_file_brings_the_student_back(tmp_path: Path) -> None:
    student = shaken(sparsify(small(CASES["padded"]), method="query_paths"))
    options = SMALL | CASES["padded"]
    del options["num_classes"]
    student.save(tmp_path / "student.safetensors", network_options=options)
    again = load(tmp_path / "student.safetensors").eval()
    assert again.input_sides() == student.input_sides() == (6, 48, 64)
    clips = clips_for(student, 1)
    assert torch.equal(again(clips).logits, student(clips).logits)


def test_pretrained_weights_are_torchvisions(monkeypatch: pytest.MonkeyPatch) -> None:
    source = small({"window_size": (2, 2, 2)}, num_classes=400).state_dict()
    asked = []

    def download(url: str, **_: object) -> dict[str, Tensor]:
        asked.append(url)
        return dict(source)

    monkeypatch.setattr(_builder, "load_state_dict_from_url", download)
    options = SMALL | {"window_size": (2, 2, 2)}
    for classes in (400, 5, 0):
        made = timm.create_model("swin3d_t.k400", True, **options | {"num_classes": classes})
        own = made.state_dict()
        assert set(source) - set(own) == (set() if classes else {"head.weight", "head.bias"})
        same = {k for k in own if torch.equal(own[k], source[k])}
        assert set(own) - same == ({"head.weight", "head.bias"} if classes == 5 else set())
    assert set(asked) == {video.Swin3D_T_Weights.KINETICS400_V1.url}


@torch.no_grad()
def test_without_a_classifier_it_gives_the_mean_feature() -> None:
    student = shaken(sparsify(small(CASES["divided"], num_classes=0)))
    output = student(clips_for(student))
    torch.testing.assert_close(output.logits, output.features.mean(dim=1))
    assert student.embedding_dim == output.logits.shape[1] == 64
    student.reset_classifier(3)
    assert student(clips_for(student)).logits.shape == (2, 3)


OPTIONS = "embed_dim:16,depths:[1,1,4],num_heads:[1,2,4],window_size:[2,2,2],drop_path_rate:0.0"
WORDS = ["task=video", "backbone=swin3d_t", "rho=0.7", "debug=smoke", "backbone.num_frames=8"]
WORDS += ["backbone.image_size=32", f"+backbone.options={{{OPTIONS}}}"]


@pytest.mark.filterwarnings("ignore")
def test_the_task_trains_a_step_on_embedded_clips(tmp_path: Path) -> None:
    settings: Any = OmegaConf.to_container(composed("train", *WORDS), resolve=True)
    data = instantiate(settings["datamodule"])
    module = instantiate(settings["task"], num_classes=data.num_classes)
    assert module.student.input_sides() == (8, 32, 32)
    before = {key: value.clone() for key, value in module.student.named_parameters()}
    trainer = L.Trainer(
        max_epochs=1,
        limit_train_batches=1,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, data)
    assert trainer.callback_metrics["train/loss"].isfinite()
    assert "val/acc1" in trainer.callback_metrics
    after = dict(module.student.named_parameters())
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert any(key.startswith("backbone.") for key in moved)
    assert any(key.startswith("method.predictors.") for key in moved)


REFUSALS = {
    "needs its complete feature map": lambda: sparsify(small(CASES["divided"]), method="rlt"),
    "not a batch of clips": lambda: small(CASES["divided"])(torch.zeros(1, 3, 64, 64)),
    "with 8 frames of 64x64": lambda: small(CASES["divided"])(torch.zeros(1, 3, 4, 64, 64)),
    "has 2 stages": lambda: sparsify(
        timm.create_model("swin3d_t", embed_dim=16, depths=(1, 1), num_heads=(1, 2))
    ),
    r"window_size=\[2, 2\] is not three": lambda: timm.create_model("swin3d_t", window_size=[2, 2]),
    "each of the 4 stages": lambda: timm.create_model("swin3d_t", num_heads=[3, 6]),
    "does not divide the channels": lambda: timm.create_model("swin3d_t", embed_dim=100),
}


@pytest.mark.parametrize("words", REFUSALS)
def test_what_does_not_fit_is_refused_by_a_sentence(words: str) -> None:
    with pytest.raises(InputError, match=words):
        REFUSALS[words]()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_graph_agrees_with_the_student(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    size = CASES["divided"] | {"depths": (1, 1, 2), "num_frames": 4}
    student = shaken(beside(small(size), "query_windows"), by=0.05)
    export(student, tmp_path / "student.onnx", 64, survivors=True)
    run = load_graph(tmp_path / "student.onnx")
    for batch in (1, 3):
        assert largest_difference(Deployed(student, survivors=True), run, 64, batch) < 1e-4


def test_its_classifier_may_be_replaced():
    student = beside(small(CASES["divided"]), "asymmetric")
    assert student.get_classifier() is student.backbone.head
    student.backbone.head = nn.Linear(student.get_classifier().in_features, 3)
    assert student.num_classes == student.predict(clips_for(student)).shape[1] == 3
