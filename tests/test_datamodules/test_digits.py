"""The embedded digits: pure functions of a seed, disjoint splits, any size, exact resume."""

from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn

from src.datamodules.digits import Digits, DigitScenes
from src.errors import InputError


def scenes(**options: Any) -> DigitScenes:
    neutral = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    return DigitScenes(
        **{"train": True, "length": 8, "image_size": 64, "seed": 0, **neutral, **options}
    )


def digits(**options: Any) -> Digits:
    facts = {"network": "resnet18", "image_size": 64, "batch_size": 4, "num_workers": 0}
    return Digits(**{**facts, "train_images": 10, "val_images": 6, "seed": 0, **options})


def test_scene_depends_on_nothing_but_seed_split_and_index():
    first, again = scenes(), scenes()
    again[5]  # drawing another scene must not move this one
    torch.testing.assert_close(first[3][0], again[3][0], rtol=0, atol=0)
    for other in (scenes(seed=1)[3], scenes(train=False)[3], first[4]):
        assert not torch.equal(first[3][0], other[0])


def test_splits_share_no_digit_and_no_photograph():
    train, val = scenes().sources, scenes(train=False).sources
    known = {glyph.tobytes() for glyph in train.glyphs}
    assert not known & {glyph.tobytes() for glyph in val.glyphs}
    assert len(train.labels) + len(val.labels) == 1797
    assert train.photo.mean() != val.photo.mean()


@pytest.mark.parametrize("size", [64, 224, 384])
def test_digit_takes_the_same_share_at_every_size(size):
    dataset = scenes(image_size=size)
    for index in range(20):
        image, label, (top, left, height, width) = dataset.scene(index)
        assert image.shape == (3, size, size)
        assert image.min() >= 0
        assert image.max() <= 1
        assert 0 <= label <= 9
        assert 0.39 * size <= min(height, width) <= max(height, width) <= 0.51 * size
        assert 0 <= top <= size - height
        assert 0 <= left <= size - width


def test_digit_is_visible_in_its_box():
    """Ink against ground: within the box the lightness spreads far more than noise would."""
    dataset = scenes()
    spreads = []
    for index in range(200):
        image, _, (top, left, height, width) = dataset.scene(index)
        gray = image[:, top : top + height, left : left + width].mean(0)
        spreads.append(np.quantile(gray, 0.95) - np.quantile(gray, 0.05))
    assert np.quantile(spreads, 0.05) > 0.25


def test_all_classes_occur_about_equally():
    dataset = scenes()
    labels = [dataset.scene(index).label for index in range(1000)]
    assert np.bincount(labels, minlength=10).min() > 60


def test_normalization_is_the_networks():
    plain = scenes()[0][0]
    shifted = scenes(mean=(0.1, 0.2, 0.3), std=(0.5, 0.4, 0.2))[0][0]
    expected = (plain - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor(
        [0.5, 0.4, 0.2]
    )[:, None, None]
    torch.testing.assert_close(shifted, expected)


def test_trainer_sees_fresh_scenes_every_epoch_and_resumes_exactly(tmp_path):
    """Two epochs at once equal one epoch, a checkpoint, and one more from it."""

    def fit(epochs: int, ckpt_path: str | None = None) -> list[tuple[float, ...]]:
        probe = Probe()
        trainer = L.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            default_root_dir=tmp_path,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
        )
        trainer.fit(probe, datamodule=digits(), ckpt_path=ckpt_path)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return probe.batches

    whole = fit(2)
    assert len(whole) == 4  # two full batches of an epoch of ten
    assert len(set(whole)) == 4
    assert fit(1) + fit(2, str(tmp_path / "last.ckpt")) == whole


def test_workers_draw_the_same_scenes():
    batches = []
    for num_workers in (0, 2):
        data = digits(num_workers=num_workers)
        data.setup("validate")
        batches.append([images for images, _ in data.val_dataloader()])
    assert [len(images) for images in batches[0]] == [4, 2]
    for here, there in zip(*batches, strict=True):
        torch.testing.assert_close(here, there, rtol=0, atol=0)


def test_validation_scenes_are_the_same_for_every_seed():
    first, other = digits(seed=0), digits(seed=7)
    torch.testing.assert_close(first.val_dataset()[2][0], other.val_dataset()[2][0])
    assert not torch.equal(first.train_dataset()[2][0], other.train_dataset()[2][0])


@pytest.mark.parametrize(
    ("bad", "words"), [({"train_images": 3}, "train_images=3"), ({"val_images": 0}, "val_images=0")]
)
def test_check_names_what_is_wrong(bad, words):
    digits().check()
    with pytest.raises(InputError, match=words):
        digits(**bad).check()


class Probe(L.LightningModule):
    """Records what each training batch looked like."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.batches: list[tuple[float, ...]] = []

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        images, _ = batch
        self.batches.append(tuple(images.mean((1, 2, 3)).tolist()))
        return self.weight * images.mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)
