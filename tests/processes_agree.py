"""Run by test_distributed on one process or two: a training step's gradients and a validation.

Two processes then also thaw a frozen backbone and must stay alike.

python tests/processes_agree.py PROCESSES FOLDER
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


def thaw(folder: Path) -> None:
    """Print whether a backbone that is frozen for an epoch moved and is the same in both."""
    module = make_module()
    start = state(module.student.backbone)
    callbacks = (FreezeBackbone(epochs=1),)
    trainer = make_trainer(folder, epochs=2, callbacks=callbacks, devices=2, strategy="ddp")
    trainer.fit(module, make_data(train_images=16))
    assert trainer.world_size == 2
    parameters = dict(module.student.backbone.named_parameters())
    both = trainer.strategy.all_gather(torch.cat([p.flatten() for p in parameters.values()]))
    moved = any(not torch.equal(start[name], p) for name, p in parameters.items())
    print(f"rank {trainer.global_rank} moved {moved} equal {torch.equal(both[0], both[1])}")


if __name__ == "__main__":
    processes, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    predictor.gumbel_keep = keep_likely
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
        callbacks=(gradients, KeepRatioLogger()),
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
        log_every_n_steps=1,
    )
    trainer.fit(module, data)
    logged = {name: float(value) for name, value in trainer.logged_metrics.items()}
    if trainer.is_global_zero:
        saved = {"gradients": gradients.seen, "logged": logged}
        torch.save(saved, folder / f"{processes}.pt")
    if processes > 1:
        thaw(folder)
