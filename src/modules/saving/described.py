"""Defines what a student knows about itself beside its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from timm.data import resolve_data_config
from torch import nn

from ...datamodules.preprocessing import Preprocessing
from ...errors import InputError
from ...measure.complexity import input_channels
from .hub import push
from .write import save

if TYPE_CHECKING:
    from ..backbones.base import SparseBackbone

CLASSIFICATION = "classification"  # as in `conf/task`


class Described(nn.Module):
    """Carries what a student's file says beside weights: what its outputs mean and what it expects.

    Attributes:
        class_names: The name of each output's class; None where they are unknown.
        metrics: Known numbers by name, such as `acc1` in percent.
    """

    class_names: tuple[str, ...] | None = None
    metrics: Mapping[str, float] = {}
    _preprocessing: Preprocessing | None = None
    _task: str | None = None

    @property
    def task(self) -> str:
        """Return what the outputs are, by a name of `conf/task`: as set, or as the network tells.

        A network without a classifier gives embeddings, one of clips is for videos, any other one
        tells one class of each image.
        """
        student = cast("SparseBackbone", self)
        if self._task is not None:
            return self._task
        if not student.num_classes:
            return "embedding"
        try:
            clips = len(student.input_sides()) == 3
        except InputError:  # of images, of any size
            clips = False
        return "video" if clips else CLASSIFICATION

    @task.setter
    def task(self, task: str | None) -> None:
        self._task = task

    @property
    def preprocessing(self) -> Preprocessing:
        """Return how evaluation prepares images: as set, or else as timm's description says.

        Mean and standard deviation are those of as many channels as the network takes.
        """
        student, ready = cast("SparseBackbone", self), self._preprocessing
        if ready is None:
            shape = {"input_size": (3, *student.image_size)}
            config = resolve_data_config(shape, pretrained_cfg=student.pretrained_cfg)
            ready = Preprocessing.of(config)
        return ready.of_channels(input_channels(student.backbone))

    @preprocessing.setter
    def preprocessing(self, preprocessing: Preprocessing | None) -> None:
        self._preprocessing = preprocessing

    def save(self, path: str | Path, network_options: Mapping[str, object] | None = None) -> None:
        """Write weights and description to one `.safetensors` file that `tokenthrift.load` reads.

        Args:
            path: Path of the file; if writing fails, an old file stays as it was.
            network_options: Arguments that created the network by `timm.create_model`, such as
                `{"embed_dim": 256}`; `img_size` and `num_classes` are known.

        Raises:
            InputError: If the file could not describe how to build this student.
            OSError: If the file cannot be written.
        """
        save(cast("SparseBackbone", self), path, network_options=network_options)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        network_options: Mapping[str, object] | None = None,
        license: str | None = None,
        private: bool | None = None,
        commit_message: str = "Upload a tokenthrift student",
        token: str | None = None,
    ) -> str:
        """Upload the saved student with a model card to the Hugging Face Hub.

        Args:
            repo_id: Such as `"user/name"`; created if it does not exist.
            network_options: As `save`.
            license: The hub's identifier, such as `"apache-2.0"`; None leaves it open.
            private: Whether a new repository is private; the account's default if None.
            commit_message: Message of the upload's commit.
            token: Token of the account; by default that of the account that is logged in.

        Returns:
            The address of the repository.

        Raises:
            InputError: If the student cannot be saved, or the hub refuses.
        """
        return push(
            cast("SparseBackbone", self),
            repo_id,
            network_options=network_options,
            license=license,
            private=private,
            commit_message=commit_message,
            token=token,
        )
