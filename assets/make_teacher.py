"""Rebuild `assets/vit_micro_digits.safetensors`, the demo's dense network: `make teacher`.

A digit covers few of the tokens, and the average over all with which attention begins drowns it:
from scratch the transformer stayed at chance for 20,000 scenes. So its stem learns first, under
maximum pooling, where 24,000 scenes suffice; then the whole network goes on from there.
"""

import runpy
import sys
from pathlib import Path

import lightning as L
import timm
import torch
from rich.progress import track
from torch import nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from src.datamodules.digits import Digits  # noqa: E402
from src.modules import sparsify  # noqa: E402
from src.modules.checkpoints import save_dense  # noqa: E402

NETWORK = "vit_micro_patch8_64"
STEM = ROOT / "logs" / "digits_stem.safetensors"
SCENES, BATCH, PEAK_RATE = 24_000, 32, 2e-3


def train_stem() -> None:
    """Teach the stem alone to recognize digits, with a linear head on its largest responses."""
    L.seed_everything(0)
    network = timm.create_model(NETWORK)
    model = nn.Sequential(
        network.patch_embed.proj,
        nn.GELU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(network.embed_dim, 10),
    )
    data = Digits(
        network=NETWORK,
        image_size=64,
        batch_size=BATCH,
        num_workers=0,
        train_images=SCENES,
        seed=0,
    )
    data.setup("fit")
    loader = data.train_dataloader()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_RATE, total_steps=len(loader), pct_start=0.05
    )
    right = 0.0
    for images, labels in track(loader, description="Stem"):
        logits = model(images)
        optimizer.zero_grad()
        F.cross_entropy(logits, labels).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
        accuracy = (logits.argmax(1) == labels).float().mean().item()
        right += (accuracy - right) / 50  # running mean of some fifty batches
    print(f"Stem under maximum pooling: {100 * right:.1f} % of the last training scenes")
    save_dense(sparsify(network, method="dense"), STEM)


if __name__ == "__main__":
    train_stem()
    sys.argv = ["train.py", "experiment=digits_teacher", f"backbone.weights={STEM}"]
    runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
