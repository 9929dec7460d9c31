"""Defines what every task shares: student, frozen teacher, loss, metrics, optimizer."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import lightning as L
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from typing_extensions import override

from ..checkpoints.checkpoint import Checkpoint
from ..config import Settings, instantiate
from ..datamodules.attached import data_of
from ..errors import InputError
from .backbones.base import SparseBackbone, SparseOutput
from .heads.base import Output, TaskTarget, of_student
from .losses import TeacherOutput
from .optim import build_lr_schedule, build_optimizer, parameter_groups, scaled_lr
from .sharding import Sharded
from .step_results import Batch, EvaluationStep, TrainingStep
from .student import build_student
from .teacher import Teacher, Teaching
from .weighted_loss import build_loss

log = logging.getLogger(__name__)


class Metric(NamedTuple):
    """Names a number in percent by which a task is judged, in logs and on the axis of a plot."""

    name: str
    label: str


class SparseModule(L.LightningModule, ABC):
    """Trains and evaluates a student on one task: a subclass and a file in `conf/task` for each.

    Validation and test log `val/<name>` and `test/<name>` for each of `metric_names`. All arguments
    but the checkpoint are plain values, so that a checkpoint describes itself.

    Attributes:
        judged_by: The metric by which reports compare students.
        task: Its name in `conf/task`, by which a saved student says what its outputs are; None
            where a head beside the student says so.
        target: What the task learns from, one of a data module's `targets`.
        target_words: What a target is, in words, for messages.
        natural_loss: The option of `conf/loss` that has all of the task's terms.
        predictions: The class that writes the task's predictions, as a `_target_`; None if there is
            none.
        outputs_are_classes: Whether the data's classes must be those of a checkpoint.
    """

    judged_by: Metric

    task: ClassVar[str | None] = None
    target: ClassVar[str] = "label"
    target_words: ClassVar[dict[str, str]] = {"label": "a class for each image"}
    natural_loss: ClassVar[str] = "dynamicvit"
    predictions: ClassVar[str | None] = None
    outputs_are_classes: ClassVar[bool] = True

    def __init__(
        self,
        *,
        backbone: Settings,
        method: Settings,
        schedule: Settings,
        loss: dict[str, Settings],
        optimizer: Settings,
        num_classes: int,
        present_classes: Sequence[int] | None = None,
        any_size: bool = False,
        teacher: Settings | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Build student and loss.

        Args:
            backbone: As in `conf/backbone`.
            method: As in `conf/method`.
            schedule: As in `conf/schedule`.
            loss: As in `conf/loss`.
            optimizer: As in `conf/optimizer`.
            num_classes: Outputs of the network; 0 for no classifier.
            present_classes: Outputs that occur in the data; None for all.
            any_size: Make the network accept images of any size.
            teacher: As in `conf/task`: a `_target_` and its arguments, all but the student.
            checkpoint: The file `backbone["weights"]`, if it has been read already.
        """
        super().__init__()
        self.present_classes = present_classes
        self.metrics = nn.ModuleDict()
        self.teacher_options = teacher or {"_target_": "src.modules.teacher.Teacher"}
        self.student = build_student(backbone, method, schedule, num_classes, any_size, checkpoint)
        self.student.task = self.task
        self.head: nn.Module | None = None
        self.loss = build_loss(loss)
        self.loss.prepare(self.student, num_classes)
        if self.student.head_is_new and self.loss.left_out:
            names = ", ".join(self.loss.left_out)
            log.info(f"Left out of the loss, because this student cannot learn from them: {names}.")
        if self.loss.needs_token_logits and not self.student.classifies_tokens:
            raise InputError(
                f"backbone.network={backbone['network']} does not classify each token, which a "
                "loss term needs: choose loss=dynamicvit or loss=asymmetric."
            )
        self.optimizer_options = optimizer
        self.teacher: Teacher | None = None
        self.plain_student: tuple[SparseBackbone, ...] = ()  # as before sharding, without values

    def check_trainable(self) -> None:
        """Check before a training that the loss trains all of the method.

        Warns if no term holds randomly drawn decisions to the schedule, which an ablation may
        intend.

        Raises:
            InputError: If no term trains the method's scores.
        """
        method = self.student.method
        if method.learns_by_summaries and not self.loss.teaches_selectors:
            raise InputError(
                "This method's scores learn from an auxiliary loss, and no term of the loss is "
                f"one: choose loss={self.natural_loss}, and loss.auxiliary.weight above 0."
            )
        if self.student.head_is_new and self.loss.copies_classes:
            log.warning(
                "The classifier is new, and so is the teacher's, from which this method's scores "
                "learn: choose loss.auxiliary._target_=src.modules.auxiliary."
                "AuxiliaryClassification, which learns from labels, as experiment=finetune does."
            )
        if method.draws_masks and not self.loss.holds_ratio:
            log.warning(
                "This method draws its decisions in training, and no term of the loss holds them "
                "to the schedule, so that training need not come near rho: choose "
                f"loss={self.natural_loss}, and loss.keep_ratio.weight above 0."
            )

    def setup(self, stage: str) -> None:
        """Copy the teacher from the student's starting weights, before a checkpoint is restored."""
        if stage == "fit" and self.loss.needs_teacher:
            self.teacher = instantiate(self.teacher_options, student=self.teaching())

    def configure_model(self) -> None:
        """Shard the weights where the strategy does so, before the optimizer takes them."""
        if isinstance(self.trainer.strategy, Sharded):
            self.trainer.strategy.shard(self)

    def on_fit_start(self) -> None:
        """Move the teacher to the student's device and precision."""
        if self.teacher is not None:
            self.teacher.follow(self.student)

    def teaching(self) -> Teaching:
        """Return the network that the teacher copies: the student, or a task's student and head."""
        return self.student

    def forward(self, images: Tensor, target: TaskTarget | None = None) -> Output:
        """Run the student on `images (B, 3, S, S)`; only detectors in training use `target`."""
        output: SparseOutput = self.student(images)
        return output

    @abstractmethod
    def images_and_target(self, batch: Batch) -> Batch:
        """Return the student's input `(B, 3, S, S)` and the target of the loss."""

    def training_step(self, batch: Batch, batch_idx: int) -> TrainingStep:
        """Compute and log the loss of one batch and its terms."""
        images, target = self.images_and_target(batch)
        output: Output = self(images, target)
        # Without a teacher no term reads this value.
        teacher = TeacherOutput.of(output) if self.teacher is None else self.teacher(images)
        total, terms = self.loss(output, teacher, target)
        self.log("train/loss", total, prog_bar=True, sync_dist=True)
        self.log_dict({f"train/{name}": value for name, value in terms.items()}, sync_dist=True)
        terms = {name: value.detach() for name, value in terms.items()}
        return {"loss": total, "terms": terms, "kept": of_student(output).kept_shares()}

    @abstractmethod
    def metric_names(self) -> list[str]:
        """Return the names of the logged metrics, `judged_by` among them, without the split."""

    @abstractmethod
    def make_metrics(self) -> nn.Module:
        """Make the metrics of one split, as one module with a `reset`."""

    @abstractmethod
    def update_metrics(self, metrics: Any, output: Any, target: Any) -> None:
        """Add one batch to the metrics."""

    @abstractmethod
    def percentages(self, metrics: Any) -> dict[str, Tensor]:
        """Return the values to log, by name without the split."""

    def prepare_metrics(self) -> None:
        """Make the metrics of both splits; subclasses call it when they are built."""
        self.metrics.update({f"{split}_split": self.make_metrics() for split in ("val", "test")})

    def validation_metrics(self) -> list[str]:
        """Return the logged names; the best checkpoint may be chosen by any of them."""
        return [f"val/{name}" for name in self.metric_names()]

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> EvaluationStep:
        return self._evaluate("val", batch)

    @override
    def test_step(self, batch: Batch, batch_idx: int) -> EvaluationStep:
        return self._evaluate("test", batch)

    def _evaluate(self, split: str, batch: Batch) -> EvaluationStep:
        images, target = self.images_and_target(batch)
        output: Output = self(images)
        self.update_metrics(self.metrics[f"{split}_split"], output, target)
        return {"output": output, "kept": of_student(output).kept_shares()}

    @override
    def on_validation_epoch_end(self) -> None:
        self._log_percentages("val")

    @override
    def on_test_epoch_end(self) -> None:
        self._log_percentages("test")

    def _log_percentages(self, split: str) -> None:
        metrics: Any = self.metrics[f"{split}_split"]
        values = self.percentages(metrics)
        self.log_dict({f"{split}/{name}": value for name, value in values.items()}, prog_bar=True)
        metrics.reset()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer over parameter groups, and the learning rate of each by step."""
        options, trainer = self.optimizer_options, self.trainer
        batch = data_of(trainer).batch_size * trainer.world_size * trainer.accumulate_grad_batches
        peak = scaled_lr(options["lr"], batch, options["reference_batch"])
        groups = parameter_groups(
            self.student,
            peak,
            options["backbone_lr_scale"],
            options["weight_decay"],
            {"head": self.head, "loss": self.loss},
        )
        optimizer = build_optimizer(options, groups)
        steps = int(trainer.estimated_stepping_batches)
        steps_per_epoch = trainer.num_training_batches / trainer.accumulate_grad_batches
        lr_schedule = build_lr_schedule(optimizer, options, groups, steps, steps_per_epoch)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": lr_schedule, "interval": "step"},
        }
