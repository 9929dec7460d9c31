"""Run by test_sharding on one process or several: ten steps whose gradients are clipped.

python tests/sharded_agrees.py PROCESSES FOLDER STEPS [CHECKPOINT]
"""

import sys
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src.callbacks.saved_student import SavedStudent
from src.callbacks.skip_non_finite import SkipNonFinite
from src.checkpoints.atomic_io import AtomicCheckpointIO
from src.modules.sharding import Sharded, is_sharded
from tests.test_training import make_data, make_module, make_trainer

BATCH = 8


class Watch(L.Callback):
    """Keeps the losses, with batch norms that do not depend on how a batch is shared."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_start(self, trainer, pl_module, *_) -> None:
        pl_module.student.backbone.patch_embed.eval()

    def on_train_batch_end(self, trainer, *_) -> None:
        self.losses.append(float(trainer.callback_metrics["train/loss"]))


if __name__ == "__main__":
    processes, folder, steps = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = make_module("optimizer.lr=0.01", "optimizer.reference_batch=8")
    watch = Watch()
    callbacks = (
        watch,
        ModelCheckpoint(folder, filename="{step}", save_top_k=-1),
        SkipNonFinite(str(folder)),
        SavedStudent(str(folder / "student.safetensors")),
    )
    trainer = make_trainer(
        folder,
        epochs=steps,
        callbacks=callbacks,
        devices=processes,
        strategy=Sharded() if processes > 1 else "auto",
        plugins=[AtomicCheckpointIO()],
        enable_checkpointing=True,
        gradient_clip_val=0.1,
        limit_val_batches=0,
        log_every_n_steps=1,
    )
    data = make_data(train_images=BATCH, batch_size=BATCH // processes)
    checkpoint = sys.argv[4] if len(sys.argv) > 4 else None
    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    assert is_sharded(module.student) == is_sharded(module.teacher.student) == (processes > 1)
    shares = [p.to_local() if processes > 1 else p for p in module.parameters()]
    if trainer.is_global_zero:
        held = sum(share.numel() for share in shares)
        torch.save({"losses": watch.losses, "held": held}, folder / "seen.pt")
