"""Segmentation and detection: heads on every backbone, training, teachers, checkpoints, cost."""

from __future__ import annotations

import json
import math
import sys
from itertools import product
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.callbacks.dense_pictures import DensePictures
from src.callbacks.keep_ratio import KeepRatioLogger
from src.callbacks.throughput import ThroughputLogger
from src.callbacks.token_maps import TokenMaps
from src.callbacks.whole_network import WholeNetworkLogger
from src.checkpoints.reading import read_file
from src.config import compose_config, instantiate
from src.datamodules.scenes import CrowdedDigits
from src.datamodules.targets import IGNORED
from src.errors import InputError
from src.measure.complexity import count_gmacs
from src.modules import heads
from src.modules.dense import DenseModule
from src.modules.heads.base import DenseOutput, EveryPosition
from src.modules.heads.pyramid import STRIDES, Pyramid
from src.modules.losses import PixelClassification, PixelDistillation, TeacherOutput
from src.runs.cost import whole_cost
from tests.helpers import ROOT, one_process, run
from tests.test_bad_inputs import sentence_in
from tests.test_configs import learns_by_summaries, names, suits

pytestmark = pytest.mark.slow

MICRO = ("convnext_micro", "swin_micro", "vit_micro")
HEADS = {
    "semantic_fpn": "segmentation",
    "upernet": "segmentation",
    "retinanet": "detection",
    "faster_rcnn": "detection",
    "mask_rcnn": "detection",
}
COMBINATIONS = [
    *((head, backbone) for head in ("semantic_fpn", "retinanet") for backbone in MICRO),
    ("upernet", "swin_micro"),
    ("faster_rcnn", "convnext_micro"),
    ("mask_rcnn", "vit_micro"),
]
SUMMARIZING = [
    (head, backbone, method)
    for head, *backbones in (
        ("semantic_fpn", "vit_micro", "convnext_micro"),
        ("retinanet", "vit_micro", "swin_micro"),
    )
    for backbone, method in product(backbones, filter(learns_by_summaries, names("method")))
    if suits(backbone, method)
]


def papers_method(backbone: str) -> list[str]:
    return ["method=dynamicvit"] if backbone == "vit_micro" else []


def make_module(head: str, backbone: str, *overrides: str) -> DenseModule:
    words = [f"task={HEADS[head]}", f"head={head}", "head.channels=32", f"backbone={backbone}"]
    words += ["backbone.weights=null", *overrides]
    module: DenseModule = instantiate(compose_config(words, ["task"])["task"], num_classes=11)
    return module


def make_data(**options: Any) -> CrowdedDigits:
    facts = {"network": "resnet18", "image_size": 80, "batch_size": 2, "num_workers": 0}
    return CrowdedDigits(**{**facts, "train_images": 4, "val_images": 4, "seed": 0, **options})


def make_trainer(folder: Path, *callbacks: L.Callback, **options: Any) -> L.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet["enable_checkpointing"] = False
    return L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=1,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        callbacks=list(callbacks),
        **quiet | options,
    )


def batch_of(size: int, number: int) -> tuple[torch.Tensor, list[dict[str, torch.Tensor]]]:
    data = make_data(image_size=size, batch_size=number, val_images=number)
    data.setup("test")
    images, targets = next(iter(data.val_dataloader()))
    return images, targets


@pytest.mark.parametrize(("head", "backbone"), COMBINATIONS)
def test_every_head_reads_every_backbone(head: str, backbone: str) -> None:
    module = make_module(head, backbone, *papers_method(backbone))
    for number, size in ((1, 80), (2, 96), (3, 80)):  # not the size of the backbone's yaml alone
        module.train()
        images, targets = batch_of(size, number)
        masks_or_objects = module.images_and_target((images, targets))[1]
        if head == "upernet" and number == 1:
            with pytest.raises(InputError, match="batch_size of at least 2"):
                module(images)
            continue
        output = module(images, masks_or_objects)
        total, _ = module.loss(output, TeacherOutput.of(output), masks_or_objects)
        assert torch.isfinite(total)
        assert len(output.backbone.steps) == 3
        with torch.no_grad():
            output = module.eval()(images)
        if HEADS[head] == "segmentation":
            assert output.logits.shape == (number, 11, size, size)
        else:
            assert len(output.detections) == number
            assert {"boxes", "labels", "scores"} <= output.detections[0].keys()
    total.backward()
    for part in (module.head, module.student.method):
        assert any(p.grad is not None and p.grad.any() for p in part.parameters())


@pytest.mark.parametrize("head", ["semantic_fpn", "upernet"])
@pytest.mark.parametrize("size", [(70, 90), (123, 100)])
@torch.no_grad()
def test_segmentation_at_any_size(head: str, size: tuple[int, int]) -> None:
    for backbone in MICRO:
        module = make_module(head, backbone).eval()
        assert module(torch.randn(1, 3, *size)).logits.shape == (1, 11, *size)


@torch.no_grad()
def test_heads_see_maps_of_one_shape_at_every_rho() -> None:
    for backbone in MICRO:
        shapes = set()
        for rho in (0.9, 0.5):
            student = make_module(
                "semantic_fpn", backbone, "schedule=constant", f"rho={rho}"
            ).student
            pyramid = Pyramid(student.levels())
            maps = pyramid(student.eval().with_maps(torch.randn(1, 3, 96, 96)).maps)
            assert [m.shape[1] for m in maps] == pyramid.channels
            assert [m.shape[-1] for m in maps] == [96 // stride for stride in STRIDES]
            shapes.add(tuple(m.shape for m in maps))
        assert len(shapes) == 1


@torch.no_grad()
def test_the_teacher_is_the_dense_network_with_the_same_head() -> None:
    module = make_module("semantic_fpn", "convnext_micro")
    module.setup("fit")
    images, _ = batch_of(96, 2)
    dense = make_module("semantic_fpn", "convnext_micro", "method=dense", "loss.keep_ratio=null")
    dense.student.backbone.load_state_dict(module.student.backbone.state_dict())
    dense.head.load_state_dict(module.head.state_dict())
    assert module.teacher is not None
    torch.testing.assert_close(module.teacher(images).logits, dense.eval()(images).logits)


@pytest.mark.parametrize(
    ("head", "backbone", "metrics"),
    [
        ("semantic_fpn", "swin_micro", {"val/miou", "val/pixel_acc"}),
        ("retinanet", "convnext_micro", {"val/box_ap", "val/box_ap50"}),
        ("mask_rcnn", "vit_micro", {"val/box_ap", "val/box_ap50", "val/mask_ap", "val/mask_ap50"}),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_training_with_all_that_watches_it(
    head: str, backbone: str, metrics: set[str], tmp_path: Path
) -> None:
    module = make_module(head, backbone, *papers_method(backbone))
    watching = [
        KeepRatioLogger(),
        TokenMaps(str(tmp_path / "tokens"), images=2),
        DensePictures(str(tmp_path / "pictures"), images=2),
    ]
    trainer = make_trainer(tmp_path, *watching)
    start = {name: p.clone() for name, p in module.named_parameters()}
    trainer.fit(module, make_data())
    assert metrics == set(module.validation_metrics())
    first = module.student.method.schedule.locations[0]
    logged = {"train/loss", "train/keep_ratio", f"keep/{first}", f"val_keep/{first}"}
    assert metrics | logged <= set(trainer.callback_metrics)
    moved = {n for n, p in module.named_parameters() if not torch.equal(p, start[n])}
    assert {name.partition(".")[0] for name in moved} == {"student", "head"}
    groups = {group["name"].partition("/")[0] for group in trainer.optimizers[0].param_groups}
    assert groups == {"backbone", "method", "head"}
    with Image.open(tmp_path / "pictures" / "epoch_000.png") as picture:
        columns = 3 + len(module.student.method.schedule.locations)
        assert picture.width > columns * 164 + 4 + 3 * 8  # and the legend in its frame
        assert picture.height == 2 * 164 + 20 + 2 * 8
    assert (tmp_path / "tokens" / "epoch_000.png").is_file()


def test_precision_needs_objects() -> None:
    module = make_module("retinanet", "convnext_micro", *papers_method("convnext_micro"))
    box, none = torch.tensor([[2.0, 2.0, 20.0, 20.0]]), torch.zeros(0, 4)
    found = {"boxes": box, "scores": torch.tensor([0.9]), "labels": torch.tensor([1])}
    seen = DenseOutput(None, detections=(found,))  # type: ignore[arg-type]

    def precision(boxes: torch.Tensor, label: int) -> dict[str, float]:
        metrics = module.make_metrics()
        labels = torch.full((len(boxes),), label)
        module.update_metrics(metrics, seen, [{"boxes": boxes, "labels": labels}])
        return {name: value.item() for name, value in module.percentages(metrics).items()}

    assert precision(box, 1) == {"box_ap": 100, "box_ap50": 100}
    assert precision(box, 2) == {"box_ap": 0, "box_ap50": 0}
    assert all(math.isnan(value) for value in precision(none, 1).values())


@pytest.mark.parametrize(("head", "backbone", "method"), SUMMARIZING)
@pytest.mark.filterwarnings("ignore")
def test_queries_learn_from_the_teachers_features(
    head: str, backbone: str, method: str, tmp_path: Path
) -> None:
    module = make_module(head, backbone, f"method={method}")
    module.check_trainable()
    queries = module.student.method.selector.queries
    start = queries.clone()
    trainer = make_trainer(tmp_path, limit_train_batches=1, limit_val_batches=0)
    trainer.fit(module, make_data())
    assert (queries != start).any(dim=1).all()
    assert trainer.logged_metrics["train/auxiliary"] > 0
    assert "train/keep_ratio" not in trainer.logged_metrics


def test_methods_that_learn_by_summaries_are_found() -> None:
    found = {(head, method) for head, _, method in SUMMARIZING}
    methods = ("query_absorb", "cropr", "query_paths")
    assert set(product(("semantic_fpn", "retinanet"), methods)) <= found


@pytest.mark.parametrize(
    ("head", "package", "ours"),
    [
        ("semantic_fpn", "segmentation_models_pytorch.decoders.fpn.decoder", "segmentation"),
        ("retinanet", "pycocotools", "detection"),
    ],
)
def test_a_missing_package_is_named(
    head: str, package: str, ours: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"src.modules.heads.{ours}", raising=False)
    monkeypatch.delattr(heads, ours, raising=False)
    with pytest.raises(InputError, match=rf"needs? {package[:12]}.*tokenthrift\[dense\]"):
        make_module(head, "convnext_micro")


@pytest.mark.filterwarnings("ignore")
def test_loggers_show_the_pictures(tmp_path: Path) -> None:
    board = TensorBoardLogger(tmp_path, name="board")
    wandb = WandbLogger(save_dir=tmp_path, offline=True)
    pictures = DensePictures(str(tmp_path / "pictures"), images=2)
    trainer = make_trainer(tmp_path, pictures, logger=[board, wandb])
    trainer.validate(make_module("semantic_fpn", "convnext_micro"), make_data(), verbose=False)
    wandb.experiment.finish()
    board.experiment.flush()
    with Image.open(tmp_path / "pictures" / "epoch_000.png") as drawn:
        events = EventAccumulator(board.log_dir).Reload()
        (shown,) = events.Images("pictures")
        assert (shown.width, shown.height) == drawn.size
        (path,) = tmp_path.glob("wandb/offline-run-*/files/media/images/pictures*.png")
        with Image.open(path) as uploaded:
            assert uploaded.tobytes() == drawn.tobytes()


def test_a_checkpoint_fills_the_head_too(tmp_path: Path) -> None:
    module = make_module("semantic_fpn", "convnext_micro")
    trainer = make_trainer(tmp_path)
    trainer.fit(module, make_data())
    path = tmp_path / "a.ckpt"
    trainer.save_checkpoint(path)
    assert not any("teacher" in key for key in read_file(path)["state_dict"])
    images, _ = batch_of(96, 2)
    with torch.no_grad():
        before = module.eval()(images)
        again = make_module("semantic_fpn", "convnext_micro", f"backbone.weights={path}")
        assert torch.equal(again.eval()(images).logits, before.logits)
        # One checkpoint, any keep ratio.
        fewer = make_module("semantic_fpn", "convnext_micro", f"backbone.weights={path}", "rho=0.5")
        assert fewer.eval()(images).backbone.counts[0].max() < before.backbone.counts[0].min()
    with pytest.raises(InputError, match=r"a\.ckpt does not fit this head: .*; choose the head"):
        make_module("upernet", "convnext_micro", f"backbone.weights={path}")


def test_the_whole_costs_what_backbone_and_head_cost() -> None:
    for head in ("semantic_fpn", "mask_rcnn"):
        module = make_module(head, "convnext_micro", "rho=0.5")
        whole = whole_cost(module.whole, 96)
        dense = count_gmacs(EveryPosition(module.whole.dense_copy()), 96)
        saved = count_gmacs(module.student.dense_copy(), 96) - count_gmacs(module.student, 96)
        assert saved > 0
        assert dense - whole["whole_gmacs"] == pytest.approx(saved)
        assert whole["whole_gmacs_share"] == pytest.approx(whole["whole_gmacs"] / dense)
        assert whole["whole_params_m"] > sum(p.numel() for p in module.head.parameters()) / 1e6


@pytest.mark.filterwarnings("ignore")
def test_speed_is_logged(tmp_path: Path) -> None:
    from lightning.pytorch.loggers import CSVLogger

    logger = CSVLogger(tmp_path)
    trainer = make_trainer(tmp_path, ThroughputLogger(), WholeNetworkLogger(), logger=logger)
    trainer.fit(make_module("semantic_fpn", "convnext_micro"), make_data())
    logger.save()
    header = (Path(logger.log_dir) / "metrics.csv").read_text()
    for name in ("complexity/whole_gmacs", "throughput/whole_speedup", "throughput/speedup"):
        assert name in header


def test_pixels_that_nobody_knows_do_not_count() -> None:
    module = make_module("semantic_fpn", "vit_micro").eval()
    images, targets = batch_of(80, 2)
    output = module(images)
    masks = torch.stack([target["mask"] for target in targets])
    teacher = TeacherOutput.of(output)
    term = PixelClassification()
    masks[:, 40:] = IGNORED
    above = torch.nn.functional.cross_entropy(output.logits[:, :, :40], masks[:, :40])
    torch.testing.assert_close(term(output, teacher, masks), above)
    masks[:] = IGNORED
    assert term(output, teacher, masks) == 0
    assert PixelDistillation()(output, teacher, masks) == 0


@pytest.mark.parametrize(
    ("call", "fragment"),
    [
        ("task=segmentation datamodule=digits", "has a class for each image: choose another task"),
        ("datamodule=digits_scenes", "learns from a class for each image, but the data has"),
        ("task=detection monitor=val/miou", "monitor=val/miou is never logged"),
        ("task=segmentation head.channels=40", "head.channels=40 must be a multiple of 32"),
        ("task=segmentation head.channels=0", "head.channels=0 must be"),
        ("head=upernet", "head"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_does_not_go_together_is_told(
    call: str, fragment: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    small = "trainer=cpu backbone=swin_micro logger=[] callbacks=[] datamodule.batch_size=2"
    with one_process(tmp_path):
        assert run([ROOT / "train.py", *small.split(), *call.split()]) == 2
    assert fragment in sentence_in(capfd.readouterr().err)


@pytest.mark.filterwarnings("ignore")
def test_command_line(tmp_path: Path) -> None:
    """The task alone brings its data, loss, head and monitor; a checkpoint brings them to eval."""

    def run_script(*words: str) -> None:
        with one_process(ROOT):
            assert run([*words, "callbacks.progress=null", "throughput_batch=1"]) == 0

    task, train, test = "task=segmentation", tmp_path / "train", tmp_path / "eval"
    run_script("train.py", task, "backbone=swin_micro", "debug=smoke", f"hydra.run.dir={train}")
    with (train / "csv" / "metrics.csv").open() as file:
        header = file.readline()
    assert {"val/miou", "complexity/whole_gmacs"} <= set(header.strip().split(","))
    best = train / "checkpoints" / "best.ckpt"
    run_script("eval.py", f"ckpt_path={best}", "rho=0.9,0.5", "-m", f"hydra.sweep.dir={test}")
    rows = [json.loads(path.read_text()) for path in sorted(test.glob("*/result.json"))]
    assert [row["rho"] for row in rows] == [0.5, 0.9]
    assert rows[0]["whole_gmacs"] < rows[1]["whole_gmacs"]
    assert "miou" in rows[0]
    page = (test / "report.html").read_text()
    assert "mIoU (%)" in page
    assert list(test.glob("*/pictures/test.png"))
