"""What every data set of labelled images offers to training, evaluation and callbacks."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import lightning as L
import timm
import torch
from timm.data import Mixup, resolve_data_config
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ..errors import InputError, one_sentence, some
from ..ranges import Number
from ..shell.stopping import follow_parent_alone
from .normalization import Normalization
from .preprocessing import Preprocessing
from .resumable import EpochDraws, EpochSampler, ResumableLoader, ShareSampler, drawn_from, seed_all


class ImageDataModule(L.LightningDataModule, ABC):
    """Images `(B, 3, S, S)` with integer labels `(B,)`; after mixup the labels are `(B, classes)`.

    Normalization, interpolation and evaluation crop are those of the timm network that is trained.
    `targets` names what tasks can learn from here; `target_words` says what they are, where their
    names do not.
    """

    ranges = {
        "batch_size": Number(32, least=1, whole=True),
        "num_workers": Number(4, least=0, whole=True, optional=True),
        "repeats": Number(3, least=1, whole=True),
    }

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
        mixup: dict[str, Any] | None = None,
        repeats: int = 1,
        seed: int = 0,
    ) -> None:
        """Keep the settings; nothing is read before `check`.

        Args:
            network: timm name whose input conventions hold.
            image_size: Side of the square input, in pixels.
            batch_size: Images a step on one device.
            num_workers: Loader processes; 0 loads in the main process, None takes as many as
                there are cores for each process of this machine, up to 16.
            mixup: Arguments of `timm.data.Mixup`, or None for none.
            repeats: Draws of each training image in an epoch (repeated augmentation).
            seed: Of the training images' order and augmentation, and of each training step.
        """
        super().__init__()
        if mixup and self.targets != ("label",):
            raise InputError(
                f"datamodule.mixup={mixup} mixes images of one label each, and this data has "
                f"{' and '.join(self.targets)}: leave it out or write datamodule.mixup=null."
            )
        if mixup and batch_size % 2:
            raise InputError(
                f"datamodule.batch_size={batch_size} is odd, but mixup pairs images: "
                "use an even batch size or datamodule.mixup=null."
            )
        if mixup:
            try:
                with drawn_from(seed):
                    Mixup(**mixup)(torch.zeros(2, 3, 8, 8), torch.zeros(2, dtype=torch.long))
            except (TypeError, ValueError, AssertionError) as error:
                raise InputError(
                    f"datamodule.mixup={mixup} is not what timm.data.Mixup takes: "
                    f"{one_sentence(str(error))}"
                ) from error
        self.image_size = image_size
        self.batch_size = batch_size
        self.num_workers = _cores() if num_workers is None else num_workers
        self.input_config = input_config(network, image_size)
        self.repeats = repeats
        self.seed = seed
        self._start = {"epoch": 0, "batch": 0}
        self._mixup_options = mixup

    @property
    def normalization(self) -> Normalization:
        """By what images are normalized."""
        return Normalization(tuple(self.input_config["mean"]), tuple(self.input_config["std"]))

    @property
    def preprocessing(self) -> Preprocessing:
        """How validation images are prepared."""
        return Preprocessing.of(self.input_config)

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """Outputs that a network for this data has."""

    @property
    def present_classes(self) -> tuple[int, ...] | None:
        """Outputs that occur in this data, ascending; None when all do."""
        return None

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Name of each output's class; None where the data does not know them."""
        return None

    def adopt_classes(self, names: Sequence[str]) -> None:
        """Label images by the outputs of a network whose classes are `names`.

        Raises:
            InputError: If this data has them in another order and cannot be labelled anew.
        """
        if self.class_names is not None and self.class_names != tuple(names):
            raise InputError(
                f"The data's classes are {some(self.class_names)} in this order, and the network's "
                f"are {some(names)}: {type(self).__name__} cannot label its images in another one."
            )

    @abstractmethod
    def check(self, stage: str = "fit", processes: int = 1) -> None:
        """Look at the data that `stage` needs before anything is built on it.

        Args:
            stage: "fit" needs training images.
            processes: That share each batch.

        Raises:
            InputError: One sentence on what is wrong.
        """

    def check_batches(self, images: int, processes: int) -> None:
        """See that the training images fill a batch of every process.

        Raises:
            InputError: If they do not.
        """
        if images < self.batch_size * processes:
            times = "" if processes == 1 else f" on {processes} devices"
            raise InputError(
                f"datamodule.batch_size={self.batch_size}{times} is more than the {images} "
                "training images, so that no batch is full: use a smaller one."
            )

    @abstractmethod
    def train_dataset(self) -> Dataset[tuple[Tensor, int]]:
        """The augmented training images."""

    @abstractmethod
    def val_dataset(self) -> Dataset[tuple[Tensor, int]]:
        """The validation images, the same at every call."""

    def val_filenames(self) -> Iterable[str] | None:
        """The validation images' files in their order; None where they have none."""
        return None

    def class_name(self, label: int) -> str:
        """What to call a class in a picture."""
        return self.class_names[label] if self.class_names else str(label)

    def setup(self, stage: str) -> None:
        """Build the data sets that `stage` needs, and the mixing of training batches."""
        if stage == "fit":
            self._train = self.train_dataset()
            options = self._mixup_options
            self._mixup = Mixup(num_classes=self.num_classes, **options) if options else None
        self._val = self.val_dataset()

    def train_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        """Shuffled batches of equal size, from where a checkpoint stood; a stream's own order."""
        if isinstance(self._train, IterableDataset):
            return self._loader(self._train, drop_last=True)
        draws = EpochDraws(self._train, self.seed)
        return self._resumable(draws, shuffle=True, repeats=self.repeats)

    def _resumable(self, dataset: Dataset[Any], **order: Any) -> DataLoader[Any]:
        sampler = EpochSampler(dataset, *self._processes, seed=self.seed, **order)
        sampler.set_epoch(self._start["epoch"])
        sampler.skip = self._start["batch"] * self.batch_size
        return self._loader(dataset, ResumableLoader, sampler=sampler, drop_last=True)

    @property
    def _processes(self) -> tuple[int, int]:
        """This one's rank and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def state_dict(self) -> dict[str, int]:
        """Where training stands: the epoch and how many of its batches are done."""
        assert self.trainer is not None
        loop = self.trainer.fit_loop
        epoch = loop.epoch_progress.current.ready - 1
        progress: Any = loop.epoch_loop.batch_progress.current
        batch = progress.processed
        whole = batch >= self.trainer.num_training_batches
        return {"epoch": epoch + whole, "batch": 0 if whole else batch}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Begin there; Lightning calls this before it asks for the loader."""
        self._start = state_dict

    def val_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        """All validation images in order, each on one process; unreadable ones are left out."""
        if isinstance(self._val, IterableDataset):
            return self._loader(self._val)
        share = ShareSampler(self._val, *self._processes)
        return self._loader(self._val, sampler=share)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        """The validation images: the classification sets in use have no labelled test part."""
        return self.val_dataloader()

    def _loader(
        self, dataset: Dataset[Any], kind: type[DataLoader[Any]] | None = None, **options: Any
    ) -> DataLoader[Any]:
        """Load `dataset` by its own `collate` and, unless `kind` is given, `loader_class`."""
        own: type[DataLoader[Any]] = getattr(dataset, "loader_class", DataLoader)
        return (kind or own)(
            dataset,
            collate_fn=getattr(dataset, "collate", None),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=follow_parent_alone,
            generator=torch.Generator().manual_seed(self.seed),  # leaves the global one alone
            **options,
        )

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Draw each training step's numbers from seed, epoch, batch and process alone.

        So that a resumed run draws what an uninterrupted one would have, mixup included.
        """
        trainer = self.trainer
        if trainer is not None and trainer.training:
            batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
            seed_all(self.seed, trainer.current_epoch, batches, trainer.global_rank)
        return batch

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Mix training images on the device where they are (mixup, cutmix)."""
        if self.trainer is None or not self.trainer.training or self._mixup is None:
            return batch
        images, labels = batch
        return self._mixup(images, labels)


def _cores() -> int:
    """Cores that this process may use, shared with the other processes of a launch."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) or 1
    return max(1, min(16, cores // processes))


def input_config(network: str, image_size: int) -> dict[str, Any]:
    """The network's `mean`, `std`, `interpolation` and `crop_pct`, with our `input_size`."""
    pretrained = timm.get_pretrained_cfg(network)
    facts = pretrained.to_dict() if pretrained else {}
    return resolve_data_config({"input_size": (3, image_size, image_size)}, pretrained_cfg=facts)
