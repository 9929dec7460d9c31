"""The embedded clips: drawn by seed and index, and no single frame tells how the digit moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from src.config import compose_config, instantiate
from src.datamodules.moving_digits import CLASSES, DIGITS, MOTIONS


def make(**changes):
    words = ["datamodule=moving_digits", "backbone=vit_micro"]
    settings = compose_config(words, ["datamodule"])["datamodule"]
    data = instantiate(settings | {"image_size": 32, "batch_size": 4, "val_images": 6} | changes)
    data.check()
    data.setup("fit")
    return data


def test_batches_are_clips_and_views():
    data = make()
    clips, labels = next(iter(data.train_dataloader()))
    assert clips.shape == (4, 3, 8, 32, 32)
    assert labels.shape == (4,)
    batches = list(data.val_dataloader())
    assert [views.shape for views, _ in batches] == [(4, 1, 3, 8, 32, 32), (2, 1, 3, 8, 32, 32)]
    assert data.num_classes == len(data.class_names) == len(DIGITS) * len(MOTIONS)


def test_a_clip_depends_on_seed_part_and_index_alone():
    one, same, other = make().train_dataset(), make().train_dataset(), make(seed=7).train_dataset()
    assert torch.equal(one[5][0], same[5][0])
    assert not torch.equal(one[5][0], other[5][0])
    assert not torch.equal(one[5][0], one[5 + len(one)][0])  # the next epoch's
    assert torch.equal(make().val_dataset()[2][0], make(seed=7).val_dataset()[2][0])
    assert not torch.equal(one[5][0], make().val_dataset()[5][0][0])


def test_training_and_validation_share_no_digit_and_no_photograph():
    train, val = (part.sources for part in (make().train_dataset(), make().val_dataset()))
    assert not {glyph.tobytes() for glyph in train.glyphs} & {g.tobytes() for g in val.glyphs}
    assert train.photo.shape != val.photo.shape or (train.photo != val.photo).any()


@pytest.mark.parametrize(("motion", "opposite"), [("left", "right"), ("up", "down")])
def test_opposite_motions_have_the_same_frames_in_another_order(motion, opposite):
    scenes = make().train_dataset()
    scene = scenes.scene(np.random.default_rng(1), CLASSES.index(f"4 {motion}"))
    mirrored = scenes.scene(np.random.default_rng(1), CLASSES.index(f"4 {opposite}"))
    assert mirrored.step == pytest.approx([-step for step in scene.step])
    last = tuple(p + 7 * s for p, s in zip(scene.place, scene.step, strict=True))
    backwards = replace(mirrored, place=last).frames(8)
    np.testing.assert_array_equal(backwards[:, ::-1], scene.frames(8))
    still = replace(scene, step=(0, 0)).frames(8)
    np.testing.assert_array_equal(still[:, 3], scene.frames(8)[:, 0])


@pytest.mark.parametrize("motion", MOTIONS)
def test_every_place_is_as_likely_in_every_frame_of_every_motion(motion):
    scenes, rng = make().train_dataset(), np.random.default_rng(0)
    drawn = [scenes.scene(rng, CLASSES.index(f"0 {motion}")) for _ in range(400)]
    for frame in (0, 7):
        places = np.array([np.add(s.place, np.multiply(frame, s.step)) % 32 for s in drawn])
        counts = np.stack([np.histogram(axis, 4, (0, 32))[0] for axis in places.T])
        assert (((counts - 100) ** 2 / 100).sum(axis=1) < 16.3).all()  # chi squared, 3, p=.001


def test_most_of_a_clip_stands_still():
    data = make()
    scenes = data.train_dataset()
    clips = torch.stack([scenes[index][0] for index in range(50)])
    clips *= data.normalization.std[0]
    change = (clips[:, :, 2::2] - clips[:, :, 1:-1:2]).abs()  # from a tubelet to the next
    patches = change.unflatten(-1, (4, 8)).unflatten(-3, (4, 8)).mean(dim=(1, 4, 6))
    assert 0.5 < (patches < 0.02).float().mean() < 0.95
