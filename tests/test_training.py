"""Training through the command line and through the Trainer, on tiny embedded data."""

import csv
import json
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from PIL import Image

from src.callbacks.freeze_backbone import FreezeBackbone
from src.config import compose_config, instantiate
from src.datamodules.digits import Digits
from src.modules.classification import SparseClassifier
from src.modules.teacher import Teacher
from tests.helpers import ROOT, SHALLOW, one_process, run


def make_module(*overrides: str) -> SparseClassifier:
    config = compose_config(["debug=smoke", *SHALLOW, *overrides], ["task"])["task"]
    return instantiate(config, num_classes=10)


def make_data(train_images: int = 8, batch_size: int = 4) -> Digits:
    return Digits(
        network="vit_micro_patch8_80",
        image_size=80,
        batch_size=batch_size,
        num_workers=0,
        train_images=train_images,
        val_images=8,
        seed=1,
    )


def make_trainer(folder: Path, epochs: int = 2, callbacks: tuple = (), **options) -> L.Trainer:
    defaults = {"devices": 1, "enable_checkpointing": False}
    return L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
        **defaults | options,
    )


def state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def changed(before: dict, module: torch.nn.Module) -> set[str]:
    return {k for k, v in module.state_dict().items() if not torch.equal(v, before[k])}


class TestTeacher:
    def test_it_is_the_starting_network_and_stays_so(self, tmp_path):
        module = make_module()
        start = state(module.student.backbone)
        make_trainer(tmp_path).fit(module, make_data())
        teacher = module.teacher.student
        assert not changed(start, teacher.backbone)
        assert changed(start, module.student.backbone)
        assert not teacher.training
        assert not any(p.requires_grad for p in teacher.parameters())

    def test_it_is_in_no_parameter_checkpoint_or_average(self, tmp_path):
        module = make_module("method=dynamicvit")
        average = EMAWeightAveraging(decay=0.5, use_buffers=False)
        save = ModelCheckpoint(tmp_path, save_last=True)
        trainer = make_trainer(tmp_path, callbacks=(average, save), enable_checkpointing=True)
        trainer.fit(module, make_data())
        student = set(module.student.state_dict())
        assert isinstance(module.teacher, Teacher)
        content = torch.load(tmp_path / "last.ckpt", weights_only=True)
        assert {k.removeprefix("student.") for k in content["state_dict"]} == student
        assert "teacher" not in str(list(content["current_model_state"]))
        assert len(list(module.parameters())) == len(list(module.student.parameters()))
        assert average._average_model.module.teacher is None

    def test_there_is_none_where_no_term_asks(self, tmp_path):
        module = make_module("loss=classification", "method=dense")
        make_trainer(tmp_path, epochs=1).fit(module, make_data())
        assert module.teacher is None


class Watch(L.Callback):
    """Remembers the student after each epoch."""

    def __init__(self) -> None:
        self.epochs: list[dict] = []

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        self.epochs.append(state(pl_module.student))


def test_the_backbone_is_frozen_and_then_thaws(tmp_path):
    module = make_module()
    start = state(module.student)
    watch = Watch()
    make_trainer(tmp_path, callbacks=(FreezeBackbone(epochs=1), watch)).fit(module, make_data())

    def moved(before, after):
        return {k for k in after if not torch.equal(before[k], after[k])}

    first = moved(start, watch.epochs[0])
    # Not even the stem's batch statistics moved.
    assert first
    assert all(key.startswith("method.") for key in first)
    second = moved(watch.epochs[0], watch.epochs[1])
    assert {key for key in start if key.startswith("backbone.blocks")} <= second
    assert "backbone.patch_embed.proj.1.running_mean" in second


def test_the_optimizer_knows_frozen_parameters(tmp_path):
    module = make_module()
    trainer = make_trainer(tmp_path, epochs=1, callbacks=(FreezeBackbone(epochs=1),))
    trainer.fit(module, make_data())
    known = {id(p) for g in trainer.optimizers[0].param_groups for p in g["params"]}
    assert any(name.startswith("loss.") for name, _ in module.named_parameters())
    assert known == {id(p) for p in module.parameters()}


@pytest.mark.slow
def test_training_moves_decisions_to_the_schedule(tmp_path):
    torch.manual_seed(0)
    options = ("optimizer.lr=0.003", "optimizer.reference_batch=8")
    module = make_module("method=dynamicvit", "rho=0.4", *options)
    data = make_data(train_images=160, batch_size=8)

    def distance():
        module.student.train()
        with torch.no_grad():
            output = module.student(next(iter(data.train_dataloader()))[0])
        shares = torch.stack([d.mean() for d in output.decisions])
        return (shares - torch.tensor([step.ratio for step in output.steps])).abs().max().item()

    data.setup("fit")
    before = distance()
    make_trainer(tmp_path, epochs=3, limit_val_batches=0).fit(module, data)
    print("DIST", before, distance())
    assert distance() < min(0.12, before)


@pytest.mark.parametrize(
    ("method", "terms"),
    [
        ("dynamicvit", ["keep_ratio", "logit_distillation", "token_distillation"]),
        ("static", ["keep_ratio", "logit_distillation", "token_distillation"]),
        ("evit", ["keep_ratio", "logit_distillation", "token_distillation"]),
        ("query_absorb", ["logit_distillation", "token_distillation", "auxiliary"]),
        ("cropr", ["logit_distillation", "token_distillation", "auxiliary"]),
    ],
)
def test_the_loss_has_the_terms_that_the_method_learns_from(tmp_path, method, terms):
    module = make_module(f"method={method}")
    trainer = make_trainer(tmp_path, epochs=1, limit_train_batches=1, limit_val_batches=0)
    trainer.fit(module, make_data())
    logged = [name for name in trainer.logged_metrics if name.startswith("train/")]
    assert logged == ["train/loss", *(f"train/{term}" for term in ["classification", *terms])]


@pytest.mark.parametrize("method", ["dynamicvit", "static"])
def test_draws_that_nothing_holds_are_warned_of(method, caplog):
    make_module(f"method={method}").check_trainable()
    assert not caplog.records
    make_module(f"method={method}", "loss.keep_ratio.weight=0").check_trainable()
    assert "loss=dynamicvit, and loss.keep_ratio.weight above 0" in caplog.text


def test_mixed_labels_reach_the_loss(tmp_path):
    data = make_data()
    data.mixup = {"mixup_alpha": 0.8, "label_smoothing": 0.1}
    seen = []
    module = make_module()
    module.loss.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2]))
    make_trainer(tmp_path, epochs=1).fit(module, data)
    assert seen[0].shape == (4, 10)
    torch.testing.assert_close(seen[0].sum(1), torch.ones(4))


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_training_in_other_precisions_is_finite(tmp_path, precision):
    module = make_module()
    make_trainer(tmp_path, epochs=1, precision=precision).fit(module, make_data())
    assert all(torch.isfinite(p).all() for p in module.parameters())


def run_script(script: str, *arguments: str) -> None:
    """Run an entry point here; that processes do the same is for other tests to show."""
    with one_process(ROOT):
        assert run([script, *arguments, "callbacks.progress=null"]) == 0


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> Path:
    """A training for all tests of the command line, which go on from it or evaluate it."""
    folder = tmp_path_factory.mktemp("smoke")
    run_script("train.py", "debug=smoke", f"hydra.run.dir={folder}")
    return folder


@pytest.mark.slow
class TestCommandLine:
    def test_smoke_leaves_everything(self, smoke):
        with (smoke / "csv" / "metrics.csv").open() as file:
            names = set(csv.DictReader(file).fieldnames)
        assert {
            "train/loss",
            "train/classification",
            "train/auxiliary",
            "train/logit_distillation",
            "train/token_distillation",
            "val/acc1",
            "val/acc5",
            "keep/2",
            "keep/5",
            "keep/8",
            "keep/2_target",
            "val_keep/2",
            "complexity/gmacs",
            "complexity/gmacs_share",
            "complexity/params_m",
            "throughput/train_images_per_s",
            "throughput/images_per_s",
            "throughput/speedup",
        } <= names
        assert (smoke / "checkpoints" / "best.ckpt").is_file()
        picture = Image.open(smoke / "token_maps" / "epoch_001.png").convert("RGB")
        assert picture.width > 4 * 160
        assert len(picture.getcolors(1 << 24)) > 100

    def test_resume_goes_on_where_it_stopped(self, smoke, tmp_path):
        last = smoke / "checkpoints" / "last.ckpt"
        run_script(
            "train.py",
            "debug=smoke",
            f"ckpt_path={last}",
            "trainer.max_epochs=3",
            f"hydra.run.dir={tmp_path}",
        )
        old = torch.load(last, weights_only=True)
        new = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
        assert (old["epoch"], new["epoch"]) == (1, 2)
        assert new["global_step"] == old["global_step"] * 3 // 2
        steps = [s["step"] for s in new["optimizer_states"][0]["state"].values()]
        assert max(steps) == new["global_step"]

    def test_eval_at_another_ratio_with_predictions(self, smoke, tmp_path):
        predictions = tmp_path / "predictions.csv"
        run_script(
            "eval.py",
            f"ckpt_path={smoke / 'checkpoints' / 'best.ckpt'}",
            "rho=0.5",
            f"predictions={predictions}",
            f"position_map={tmp_path / 'positions.png'}",
            f"class_map={tmp_path / 'classes.png'}",
            f"token_maps={tmp_path / 'tokens.png'}",
            "images=[1,3]",
            "method@against=tome",
            f"disagreement={tmp_path / 'disagreement.png'}",
            "throughput_batch=1",
            f"hydra.run.dir={tmp_path}",
        )
        row = json.loads((tmp_path / "result.json").read_text())
        assert row["backbone"] == "vit_micro"
        assert row["rho"] == 0.5
        assert row["gmacs"] < 0.6 * row["gmacs_dense"]
        with Image.open(tmp_path / "positions.png") as picture:
            assert picture.width > 500
        with (tmp_path / "positions.csv").open() as file:
            shares = list(csv.DictReader(file))
        assert len(shares) == 3 * 100
        last = [float(line["share"]) for line in shares if line["location"] == "8"]
        assert sum(last) == pytest.approx(12, abs=0.01)  # of 100 at rho 0.5; four digits each
        with (tmp_path / "classes.csv").open() as file:
            classes = list(csv.DictReader(file))
        assert len(classes) == len({line["class"] for line in classes}) * 3 * 100
        assert len({line["class"] for line in classes}) > 1
        with Image.open(tmp_path / "tokens.png") as picture:
            assert picture.size == (4 * 164 + 4, 2 * 164 + 20)  # two images, three locations
        with (tmp_path / "disagreement.csv").open() as file:
            compared = list(csv.DictReader(file))
        assert all(0 < float(line["common_8"]) < 1 for line in compared)
        with Image.open(tmp_path / "disagreement.png") as picture:
            assert picture.size == (4 * 164 + 4, 4 * 164 + 20 + 12)  # a name takes two lines
        with predictions.open() as file:
            lines = list(csv.DictReader(file))
        assert len(lines) == 4  # the run's own number of validation images
        assert [line["first"] for line in compared] == [line["prediction"] for line in lines]
        right = sum(line["label"] == line["prediction"] for line in lines)
        assert row["acc1"] == pytest.approx(100 * right / 4)

    def test_a_checkpoint_swept_over_rho(self, smoke, tmp_path):
        run_script(
            "eval.py",
            f"ckpt_path={smoke / 'checkpoints' / 'best.ckpt'}",
            "-m",
            "rho=0.9,0.5",
            "throughput_batch=1",
            f"hydra.sweep.dir={tmp_path}",
        )
        rows = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*/result.json"))]
        assert [row["rho"] for row in rows] == [0.5, 0.9]
        assert rows[0]["gmacs"] < rows[1]["gmacs"]
        assert {row["backbone"] for row in rows} == {"vit_micro"}

    def test_wandb_offline(self, tmp_path):
        run_script(
            "train.py",
            "debug=smoke",
            "logger=[csv,wandb]",
            "logger.wandb.offline=true",
            "trainer.max_epochs=1",
            "method=query_absorb",
            f"hydra.run.dir={tmp_path}",
        )
        with (tmp_path / "csv" / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        kept = [float(row["keep/8"]) for row in rows if row["keep/8"]]
        assert kept == pytest.approx([0.34] * 4)
        assert any(float(row["train/auxiliary"] or 0) > 0 for row in rows)
        run = next((tmp_path / "wandb").glob("offline-run-*"))
        assert list((run / "files" / "media" / "images").glob("token_maps*.png"))
