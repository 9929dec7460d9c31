"""Rebuild `assets/vit_micro_digits.safetensors`, the demo's dense network: `make teacher`.

A digit covers few of the tokens, and the average over all with which attention begins drowns it:
from scratch the transformer stayed at chance for 20,000 scenes. So its stem learns first, under
maximum pooling, where 24,000 scenes suffice. Then the whole network learns at 64 px, where a step
costs little, and last at its own 80 px.
"""

import subprocess
import sys
from pathlib import Path

import lightning as L
import timm
import torch
from rich.progress import track
from safetensors.torch import load_file
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from src.datamodules.digits import Digits  # noqa: E402
from src.modules import sparsify  # noqa: E402
from src.modules.weights import save_dense  # noqa: E402

NETWORK = "vit_micro_patch8_80"
START = ROOT / "logs" / "digits_start.safetensors"
RESULT = ROOT / "assets" / "vit_micro_digits.safetensors"
SMALL = 64
SCENES, BATCH, PEAK_RATE = 24_000, 32, 2e-3


def train_stem() -> None:
    """Teach the stem alone to recognize digits, with a linear head on its largest responses."""
    L.seed_everything(0)
    network = timm.create_model(NETWORK, img_size=SMALL)
    model = nn.Sequential(
        network.patch_embed.proj,
        nn.GELU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(network.embed_dim, 10),
    )
    data = Digits(
        network=NETWORK,
        image_size=SMALL,
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
    save_dense(sparsify(network, method="dense"), START)


def train(*overrides: str) -> None:
    """Train from START; the weights go to RESULT."""
    command = [sys.executable, "train.py", "experiment=digits_teacher", f"backbone.weights={START}"]
    subprocess.run([*command, *overrides], cwd=ROOT, check=True)


def enlarge() -> None:
    """Resample RESULT's position embedding to the network's own resolution, into START."""
    network = timm.create_model(NETWORK)
    weights = {key: value.float() for key, value in load_file(RESULT).items()}
    network.load_state_dict(checkpoint_filter_fn(weights, network))
    save_dense(sparsify(network, method="dense"), START)


if __name__ == "__main__":
    train_stem()
    train(f"backbone.image_size={SMALL}")
    enlarge()
    train("trainer.max_epochs=1", "datamodule.train_images=24000", "optimizer.lr=5e-4")
