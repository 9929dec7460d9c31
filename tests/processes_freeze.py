"""Run by test_distributed: two processes thaw a frozen backbone and must stay alike."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src.callbacks.freeze_backbone import FreezeBackbone
from tests.test_training import make_data, make_module, make_trainer, state

if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = make_module()
    start = state(module.student)
    trainer = make_trainer(
        Path(sys.argv[1]),
        epochs=2,
        callbacks=(FreezeBackbone(epochs=1),),
        devices=2,
        strategy="ddp",
    )
    trainer.fit(module, make_data(train_images=16))
    backbone = torch.cat([p.detach().flatten() for p in module.student.backbone.parameters()])
    both = trainer.strategy.all_gather(backbone)
    assert trainer.world_size == 2
    moved = any(
        not torch.equal(start[f"backbone.{k}"], p)
        for k, p in module.student.backbone.named_parameters()
    )
    print(f"rank {trainer.global_rank} moved {moved} equal {torch.equal(both[0], both[1])}")
