"""Trains and evaluates students of encoders, whose output is an embedding of an image."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, final

import torch
from torch import Tensor
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics import Metric as TorchMetric
from typing_extensions import Unpack, override

from ..config import instantiate
from ..datamodules.attached import data_of
from ..datamodules.targets import IMAGE
from ..errors import InputError
from ..ranges import Number
from .backbones.base import SparseBackbone, SparseOutput
from .base import Metric, SparseModule
from .feature_losses import cosine
from .neighbors import NearestNeighbors
from .step_results import Batch, EvaluationStep
from .task_settings import TaskSettings
from .teacher import Teacher

DENSE = "dense_teacher"  # in checkpoints: the weights that the student's are compared with


@final
class SparseEmbedder(SparseModule):
    """Trains and evaluates a student on embeddings, which it learns from the dense network alone.

    The embedding is the network's pooled output without a classifier. Validation logs `val/cosine`,
    the mean cosine to the dense network's embedding in percent. Where each image has a label, it
    also logs `val/knn1`, the top-1 accuracy in percent by nearest neighbors among the training
    images' embeddings, and `val/knn1_dense`, the dense network's own. Labels serve these alone.

    The dense network has the weights that training started from, which checkpoints carry. A student
    whose file has none is compared with its own network without a method.
    """

    ranges = {
        "neighbors": Number(20, least=1, whole=True),
        "bank_images": Number(10000, least=0, whole=True),
        "outputs": Number(0, least=0, whole=True),
    }

    task = "embedding"
    target = IMAGE
    target_words = {IMAGE: "images alone"}
    natural_loss = "features"
    predictions = "src.predictions.embeddings.EmbeddingTable"
    outputs_are_classes = False
    judged_by = Metric("knn1", "kNN top-1 (%)")

    def __init__(
        self,
        *,
        num_classes: int,
        neighbors: int = 20,
        bank_images: int = 10000,
        outputs: int = 0,
        **parts: Unpack[TaskSettings],
    ) -> None:
        """Build student, loss and metrics.

        Args:
            num_classes: Number of the data's classes; 0 if it has no labels.
            neighbors: Training images that vote for a class.
            bank_images: Training images among which they are searched; 0 leaves this out.
            outputs: Outputs of a projection that belongs to the network, such as CLIP's; 0 for the
                pooled features.
            **parts: Arguments of the base class. The outputs are not classes, so that
                `present_classes` is ignored.
        """
        of_base: TaskSettings = {**parts, "present_classes": None}
        super().__init__(num_classes=outputs, **of_base)
        self.save_hyperparameters(ignore=["checkpoint"])
        self.neighbors = neighbors
        self.bank_images = bank_images
        self.has_labels = num_classes > 0 and bank_images > 0
        self.dense: Teacher | None = None
        checkpoint = parts.get("checkpoint")
        self._stored = checkpoint.content.get(DENSE) if checkpoint else None
        self._dense_bank: list[Tensor] = []
        self._judge()
        self.prepare_metrics()

    def _judge(self) -> None:
        if not self.has_labels:
            self.judged_by = Metric("cosine", "cosine to dense (%)")

    @override
    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.has_labels = self.has_labels and "label" in data_of(self.trainer).targets
        self._judge()
        if self.dense is None:
            starting = stage == "fit" or self._stored is None
            network = self.student if starting else _with_weights(self.student, self._stored)
            self.dense = self.teacher or instantiate(self.teacher_options, student=network)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        assert self.dense is not None
        network = self.dense.student
        assert isinstance(network, SparseBackbone)
        checkpoint[DENSE] = network.backbone.state_dict()

    @override
    def images_and_target(self, batch: Batch) -> Batch:
        images, target = batch
        return images, target

    @override
    def metric_names(self) -> list[str]:
        return ["knn1", "knn1_dense", "cosine"] if self.has_labels else ["cosine"]

    @override
    def make_metrics(self) -> MetricCollection:
        metrics: dict[str, TorchMetric | MetricCollection] = {
            "knn1": NearestNeighbors(self.neighbors),
            "knn1_dense": NearestNeighbors(self.neighbors),
            "cosine": MeanMetric(),
        }
        return MetricCollection(metrics, compute_groups=False)

    @override
    def on_validation_epoch_start(self) -> None:
        self._fill_bank("val", self.trainer.precision_plugin.val_step_context())

    @override
    def on_test_epoch_start(self) -> None:
        self._fill_bank("test", self.trainer.precision_plugin.test_step_context())

    def _fill_bank(self, split: str, precision: AbstractContextManager[None]) -> None:
        """Embed the training images by both networks; the dense one's embeddings never change."""
        assert self.dense is not None
        self.dense.follow(self.student)
        if not self.has_labels:
            return
        metrics: Any = self.metrics[f"{split}_split"]
        dense = self._dense_bank
        known = bool(dense)
        loader = data_of(self.trainer).bank_dataloader(self.bank_images)
        with torch.no_grad(), precision:
            for number, batch in enumerate(loader):
                images, labels = (part.to(self.device) for part in batch)
                if not known:
                    dense.append(self.dense(images).logits.cpu())
                metrics["knn1"].remember(self.student(images).logits, labels)
                metrics["knn1_dense"].remember(dense[number].to(self.device), labels)

    @override
    def _evaluate(self, split: str, batch: Batch) -> EvaluationStep:
        assert self.dense is not None
        images, target = batch
        return super()._evaluate(split, (images, (target, self.dense(images).logits)))

    @override
    def update_metrics(
        self, metrics: MetricCollection, output: SparseOutput, target: tuple[Tensor, Tensor]
    ) -> None:
        labels, dense = target
        metrics["cosine"].update(cosine(output.logits, dense))
        if self.has_labels:
            metrics["knn1"].update(output.logits, labels)
            metrics["knn1_dense"].update(dense, labels)

    @override
    def percentages(self, metrics: MetricCollection) -> dict[str, Tensor]:
        return {name: 100 * metrics[name].compute() for name in self.metric_names()}


def _with_weights(student: SparseBackbone, weights: object) -> SparseBackbone:
    """Return a dense copy of the network with the weights of a checkpoint.

    Raises:
        InputError: If they are not those of this network.
    """
    dense = student.dense_copy()
    try:
        assert isinstance(weights, Mapping)
        dense.backbone.load_state_dict(weights)
    except (AssertionError, RuntimeError, TypeError, AttributeError) as error:
        raise InputError(
            f"The checkpoint's {DENSE} is not the weights of its network: it is damaged."
        ) from error
    return dense
