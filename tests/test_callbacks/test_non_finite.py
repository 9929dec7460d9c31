"""Steps whose gradients are not finite."""

from itertools import pairwise

import lightning as L
import pytest
import torch

from src.callbacks.skip_non_finite import SkipNonFinite
from src.errors import InputError
from tests.test_training import make_data, make_module, make_trainer, state


class Poison(L.Callback):
    """Images of NaN in some steps; the weights after each."""

    def __init__(self, steps: range) -> None:
        self.steps = steps
        self.weights: list[dict] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_step in self.steps:
            batch[0].fill_(torch.nan)

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        self.weights.append(state(pl_module))


def train(folder, poison: Poison, most: int, **options) -> L.Trainer:
    skip = SkipNonFinite(str(folder / "checkpoints"), most=most)
    trainer = make_trainer(
        folder, epochs=1, callbacks=(poison, skip), gradient_clip_val=1.0, **options
    )
    trainer.fit(make_module(), make_data(train_images=24))
    return trainer


def equal(one: dict, other: dict) -> bool:
    return all(torch.equal(value, other[key]) for key, value in one.items())


def test_such_a_step_is_left_out_and_named(tmp_path, caplog):
    poison = Poison(range(2, 4))
    train(tmp_path, poison, most=2)
    after = poison.weights
    assert len(after) == 6
    assert [equal(a, b) for a, b in pairwise(after)] == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert all(value.isfinite().all() for value in after[-1].values())
    warnings = [record.getMessage() for record in caplog.records if "left out" in record.message]
    assert len(warnings) == 2
    assert "step 3 are not finite in student." in warnings[0]
    assert "classification=nan" in warnings[0]


def test_too_many_in_a_row_end_the_training_with_its_last_good_state(tmp_path):
    poison = Poison(range(2, 9))
    with pytest.raises(InputError, match=r"step 5.*number 3 in a row.*finite\.ckpt"):
        train(tmp_path, poison, most=2)
    saved = torch.load(tmp_path / "checkpoints" / "finite.ckpt", weights_only=True)
    assert equal(poison.weights[1], saved["state_dict"])


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    module = make_module()
    torch.nn.init.constant_(module.student.backbone.norm.weight, torch.inf)
    skip = SkipNonFinite(str(tmp_path), most=0)
    with pytest.raises(InputError, match="older checkpoint"):
        make_trainer(tmp_path, epochs=1, callbacks=(skip,)).fit(module, make_data())
    assert not list(tmp_path.glob("*.ckpt"))


def test_accumulated_gradients_are_left_out_whole(tmp_path):
    poison = Poison(range(1, 2))
    train(tmp_path, poison, most=1, accumulate_grad_batches=2)
    after = poison.weights
    assert equal(after[1], after[3])
    assert [equal(a, b) for a, b in pairwise(after[3:])] == [False, False]
    assert all(value.isfinite().all() for value in after[-1].values())
