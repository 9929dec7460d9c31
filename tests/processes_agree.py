"""Run by test_distributed on one process and two: a training step's gradients and a validation.

Two processes also thaw a frozen backbone and must stay alike.

python tests/processes_agree.py FOLDER
"""

import sys
from pathlib import Path

import lightning as L
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src.callbacks.freeze_backbone import FreezeBackbone
from src.callbacks.keep_ratio import KeepRatioLogger
from src.datamodules.digits import Digits
from src.modules.methods.selectors import predictor
from tests.test_training import make_data, make_module, make_trainer, state

BATCH, IMAGES = 8, 101


def keep_likely(log_probabilities: torch.Tensor) -> torch.Tensor:
    """A decision without chance, so that it is the same whichever process takes it."""
    soft = log_probabilities[..., 0].exp()
    return (soft > soft.mean(dim=1, keepdim=True)).to(soft.dtype) - soft.detach() + soft


class Gradients(L.Callback):
    """Of the one step, with batch norms that do not depend on how a batch is shared."""

    def on_train_batch_start(self, trainer, pl_module, *_) -> None:
        pl_module.student.backbone.patch_embed.eval()

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        self.seen = {n: p.grad.clone() for n, p in pl_module.named_parameters()}


class Moved(L.Callback):
    """Print whether a backbone that was frozen for an epoch moved and is the same in both."""

    def on_fit_start(self, trainer, pl_module) -> None:
        self.start = state(pl_module.student.backbone)

    def on_fit_end(self, trainer, pl_module) -> None:
        assert trainer.world_size == 2
        parameters = dict(pl_module.student.backbone.named_parameters())
        both = trainer.strategy.all_gather(torch.cat([p.flatten() for p in parameters.values()]))
        moved = any(not torch.equal(self.start[name], p) for name, p in parameters.items())
        equal = torch.equal(both[0], both[1])
        print(f"rank {trainer.global_rank} moved {moved} equal {equal}", flush=True)


class Saved(L.Callback):
    """Keep what was logged and the gradients that `gradients` has seen."""

    def __init__(self, path: Path, gradients: Gradients) -> None:
        self.path, self.gradients = path, gradients

    def on_fit_end(self, trainer, pl_module) -> None:
        if trainer.is_global_zero:
            logged = {name: float(value) for name, value in trainer.logged_metrics.items()}
            torch.save({"gradients": self.gradients.seen, "logged": logged}, self.path)


def thaw(folder: Path) -> None:
    callbacks = (FreezeBackbone(epochs=1), Moved())
    trainer = make_trainer(folder, epochs=2, callbacks=callbacks, devices=2, strategy="ddp_fork")
    trainer.fit(make_module(), make_data(train_images=16))


def step(processes: int, folder: Path) -> None:
    torch.manual_seed(0)
    # A step so small that the validation sees equal weights.
    module = make_module(
        "method=dynamicvit",
        "loss.keep_ratio.batch_mean=true",
        "optimizer.lr=1e-30",
        "optimizer.min_lr=0",
    )
    for head in module.student.method.selector.predictors:  # as if trained: images' shares differ
        torch.nn.init.normal_(head.out_conv[-2].weight)
    with torch.no_grad():
        for parameter in module.student.backbone.parameters():
            parameter.mul_(1.3)
    data = Digits(
        network="vit_micro_patch8_80",
        image_size=80,
        batch_size=BATCH // processes,
        num_workers=0,
        train_images=BATCH,
        val_images=IMAGES,
        seed=1,
    )
    gradients = Gradients()
    trainer = make_trainer(
        folder,
        epochs=1,
        callbacks=(gradients, KeepRatioLogger(), Saved(folder / f"{processes}.pt", gradients)),
        devices=processes,
        strategy="ddp_fork" if processes > 1 else "auto",
        log_every_n_steps=1,
    )
    trainer.fit(module, data)


if __name__ == "__main__":
    torch.set_num_threads(1)
    predictor.gumbel_keep = keep_likely
    folder = Path(sys.argv[1])
    thaw(folder)
    for processes in (1, 2):
        step(processes, folder)
