"""Starts learned queries from the dense network before a training."""

from __future__ import annotations

from collections.abc import Sized

import lightning as L
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils.data import IterableDataset

from ..datamodules.attached import data_of
from ..datamodules.reading import file_errors_named
from ..datamodules.spread import spread_evenly
from ..modules.backbones.base import SparseBackbone
from ..modules.base import SparseModule
from ..modules.query_start import learned_query, start_queries
from ..ranges import Number
from .task_callback import TaskCallback


class StartQueries(TaskCallback):
    """Sets new queries to where the dense network's class token looks (`start_queries`).

    Queries that come from a file, a resumed training, networks without a class token and data that
    comes as a stream are left as they are.
    """

    ranges = {
        "images": Number(64, least=0, whole=True),
    }

    def __init__(self, images: int = 64) -> None:
        """Read `images` training images, spread evenly; 0 leaves the queries at random."""
        self.images = images

    @staticmethod
    def no_effect(student: SparseBackbone) -> str:
        """Return why this changes nothing for this student; empty if it does."""
        if learned_query(student) is None:
            return "this student has no queries to start from a class token's attention"
        return "" if student.method_is_new else "the queries come from a file"

    def setup(self, trainer: L.Trainer, pl_module: SparseModule, stage: str) -> None:
        """Start them before a strategy distributes the weights and before they are averaged."""
        student = pl_module.student
        if stage != "fit" or self.images == 0 or self.no_effect(student):
            return
        with isolate_rng(), file_errors_named():
            dataset = data_of(trainer).plain_train_dataset()
            if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
                return
            chosen = spread_evenly(len(dataset), self.images)
            device = trainer.strategy.root_device
            student.to(device)
            images = (dataset[i][0].unsqueeze(0).to(device) for i in chosen)
            explained = start_queries(student, images)
        shares = ", ".join(f"{share:.2f}" for share in explained)
        rank_zero_info(f"Queries start from the class token's attention (R^2 {shares}).")
