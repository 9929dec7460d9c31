"""Defines what every data set of images offers to training, evaluation and callbacks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import ClassVar, TypeVar

import lightning as L
from torch.utils.data import DataLoader, Dataset

from ..errors import InputError, some
from ..lightning_internals import batches_started, remake_train_loader
from ..ranges import Number, Text
from .inputs import InputConfig
from .loading import Loaders, cores
from .normalization import Normalization
from .preprocessing import Preprocessing
from .reading import file_errors_named
from .resumable import progress_of, seed_all
from .targets import Sample

Batch = TypeVar("Batch")


class ImageDataModule(L.LightningDataModule, ABC):
    """Loads images `(B, 3, S, S)` with their targets, such as labels `(B,)`.

    Normalization, interpolation and evaluation crop are those of the timm network that is trained.

    Attributes:
        fetched: Settings whose value may be downloaded, which a checkpoint's record therefore never
            sets.
        targets: What tasks can learn from this data.
        target_words: What a target is, in words, for messages.
    """

    ranges = {
        "network": Text("deit_small_patch16_224"),
        "image_size": Number(224, least=1, whole=True),
        "seed": Number(42, least=0, most=2**32 - 1, whole=True),
        "batch_size": Number(32, least=1, whole=True),
        "num_workers": Number(4, least=0, whole=True, optional=True),
        "repeats": Number(3, least=1, whole=True),
    }

    fetched: ClassVar[tuple[str, ...]] = ("dataset",)
    targets: ClassVar[tuple[str, ...]] = ("label",)
    target_words: ClassVar[dict[str, str]] = {
        "label": "a class for each image",
        "mask": "a class for each pixel",
    }

    def __init__(
        self,
        *,
        network: str,
        image_size: int,
        batch_size: int,
        num_workers: int | None,
        repeats: int = 1,
        seed: int = 0,
    ) -> None:
        """Keep the settings; nothing is read before `check`.

        Args:
            network: timm's name of the network whose input conventions are used.
            image_size: Side of the square input, in pixels.
            batch_size: Images per step on one device.
            num_workers: Loader processes; 0 loads in the main process, None takes as many as
                there are cores for each process of this machine, up to 16.
            repeats: Draws of each training image in an epoch (repeated augmentation).
            seed: Seed of the training images' order and augmentation, and of each training step.
        """
        super().__init__()
        self.image_size = image_size
        self.batch_size = batch_size
        self.num_workers = cores() if num_workers is None else num_workers
        self.input_config = InputConfig.of_network(network, image_size)
        self.repeats = repeats
        self.seed = seed
        self._start = {"epoch": 0, "batch": 0}

    @property
    def normalization(self) -> Normalization:
        """Return the mean and the standard deviation by which images are normalized."""
        return self.input_config.normalization

    @property
    def preprocessing(self) -> Preprocessing:
        """Return how validation images are prepared."""
        return Preprocessing.of(asdict(self.input_config))

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """Return how many outputs a network for this data has."""

    @property
    def present_classes(self) -> tuple[int, ...] | None:
        """Return the outputs that occur in this data, ascending; None when all do."""
        return None

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Return the name of each output's class; None where the data does not know them."""
        return None

    def adopt_classes(self, names: Sequence[str]) -> None:
        """Label images by the outputs of a network with the classes `names`.

        Raises:
            InputError: If this data has other classes, or another order, and cannot change labels.
        """
        if self.class_names is not None and self.class_names != tuple(names):
            raise InputError(
                f"The data's classes are {some(self.class_names)} in this order, and the network's "
                f"are {some(names)}: {type(self).__name__} cannot label its images in another one."
            )

    @abstractmethod
    def check(self, stage: str = "fit", processes: int = 1) -> None:
        """Check the data that `stage` needs before anything is built on it.

        Args:
            stage: "fit" needs training images; others, as "test", need those of validation alone.
            processes: How many train together, each on a batch of its own.

        Raises:
            InputError: One sentence on what is wrong.
        """

    def check_batches(self, images: int, processes: int) -> None:
        """Check that there are training images for one batch of every process.

        Raises:
            InputError: If there are fewer.
        """
        if images < self.batch_size * processes:
            times = "" if processes == 1 else f" on {processes} devices"
            raise InputError(
                f"datamodule.batch_size={self.batch_size}{times} is more than the {images} "
                "training images, so that no batch is full: use a smaller one."
            )

    @abstractmethod
    def train_dataset(self) -> Dataset[Sample]:
        """Return the augmented training images."""

    @abstractmethod
    def val_dataset(self) -> Dataset[Sample]:
        """Return the validation images, the same at every call."""

    def plain_train_dataset(self) -> Dataset[Sample]:
        """Return the training images as evaluation prepares them, in order.

        Data that augments its training images overrides it.
        """
        return self.train_dataset()

    def val_filenames(self) -> Iterable[str] | None:
        """Return the validation images' files in their order; None where they have none."""
        return None

    def val_size(self, index: int) -> tuple[int, int] | None:
        """Return the width and height in pixels of a framed validation image before framing.

        None where images are not framed: they have the network's input size or are cropped to it.
        """
        return None

    def class_name(self, label: int) -> str:
        """Return the name of a class in pictures."""
        return self.class_names[label] if self.class_names else str(label)

    def setup(self, stage: str) -> None:
        """Build the data sets that `stage` needs.

        Raises:
            InputError: If a file cannot be read.
        """
        with file_errors_named():
            if stage == "fit":
                self._train = self.train_dataset()
            self._val = self.val_dataset()

    def train_dataloader(self) -> DataLoader[Sample]:
        """Load shuffled training batches of equal size, from a checkpoint's position on."""
        return self._loaders.shuffled(self._train, self._start, self.repeats)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Load all validation images in order, each on one process."""
        return self._loaders.shared(self._val)

    def test_dataloader(self) -> DataLoader[Sample]:
        """Load the validation images: the data sets in use have no labelled test part."""
        return self.val_dataloader()

    def bank_dataloader(self, images: int) -> DataLoader[Sample]:
        """Load about `images` training images, spread evenly, as evaluation prepares them.

        Raises:
            InputError: If the data comes as a stream or a file cannot be read.
        """
        with file_errors_named():
            return self._loaders.spread(self.plain_train_dataset(), images)

    @property
    def _loaders(self) -> Loaders:
        trainer = self.trainer
        alone = Loaders(self.batch_size, self.num_workers, self.seed)
        if trainer is None:
            return alone
        return replace(
            alone,
            rank=trainer.global_rank,
            processes=trainer.world_size,
            accumulated=trainer.accumulate_grad_batches,
            limit=trainer.limit_train_batches,
        )

    def state_dict(self) -> dict[str, int]:
        """Return the training's position: the epoch and how much of it is done."""
        assert self.trainer is not None
        return progress_of(self.trainer, self.batch_size)

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Resume from this position, also where the loader has been made already."""
        self._start = state_dict
        if self.trainer is not None:
            remake_train_loader(self.trainer)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Seed each training step's random numbers by seed, epoch, batch and process alone.

        So a resumed run draws what an uninterrupted one would have, mixup included.
        """
        trainer = self.trainer
        if trainer is not None and trainer.training:
            step = batches_started(trainer)
            seed_all(self.seed, trainer.current_epoch, step, trainer.global_rank)
        return batch
