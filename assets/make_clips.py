"""Make `assets/video_micro_digits.safetensors`, the dense network of `make demo-video`.

Each tubelet learns what it shows (the scenes know), beside the clip's class; the former's share
falls to nothing. Stopped by Ctrl-C or SIGTERM it keeps its state and goes on from there.
"""

import math
import signal
import sys
from pathlib import Path

import lightning as L
import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from src.config import compose_config, instantiate  # noqa: E402
from src.datamodules.moving_digits import CLASSES, MovingScenes  # noqa: E402
from src.modules import create_student  # noqa: E402
from src.modules.weights import save_dense  # noqa: E402

BATCH, STEPS, PEAK_RATE, WARM_UP = 32, 2400, 2e-3, 100
GROUND, GROUND_WEIGHT, COVERED = len(CLASSES), 0.2, 0.2
STATE = ROOT / "logs" / "clips" / "state.pt"
RESULT = ROOT / "assets" / "video_micro_digits.safetensors"


def sample(
    scenes: MovingScenes, index: int, grid: tuple[int, int, int]
) -> tuple[Tensor, int, Tensor]:
    """Draw a clip `(3, T, S, S)`, its class, and the class or ground of each tubelet `(N,)`."""
    clip, label = scenes[index]
    rng = np.random.default_rng((*scenes._key, index))
    rng.integers(len(CLASSES))
    scene = scenes.scene(rng, label)
    frames, rows, columns = grid
    length, side = clip.shape[1] // frames, clip.shape[-1] // rows
    shown = np.full(grid, GROUND)
    for tubelet in range(frames):
        shift = [
            round(a + length * tubelet * b) for a, b in zip(scene.place, scene.step, strict=True)
        ]
        ink = np.roll(scene.coverage, shift, axis=(0, 1)).reshape(rows, side, columns, side)
        shown[tubelet][ink.mean((1, 3)) > COVERED] = label
    return clip, label, torch.from_numpy(shown).flatten()


def train() -> None:
    """Train, write the weights, print the accuracy on the validation clips."""
    L.seed_everything(0)
    student = create_student("video_micro", method="dense", num_classes=len(CLASSES))
    network = student.backbone
    read = nn.Linear(network.embed_dim, GROUND + 1)  # what a tubelet shows
    both = nn.ModuleList([network, read])
    optimizer = torch.optim.AdamW(both.parameters(), PEAK_RATE, weight_decay=0.05)
    weight = torch.ones(GROUND + 1)
    weight[GROUND] = GROUND_WEIGHT
    plan = compose_config(["task=video", "datamodule.seed=0"], ["datamodule"])["datamodule"]
    data = instantiate(plan)
    scenes, grid = data.train_dataset(), network.patch_embed.grid_size
    first = 0
    if STATE.exists():
        kept = torch.load(STATE)
        both.load_state_dict(kept["both"])
        optimizer.load_state_dict(kept["optimizer"])
        first = kept["step"]
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    signal.signal(signal.SIGINT, lambda number, frame: stopped.append(number))
    for step in track(range(first, STEPS), description="video_micro"):
        share = step / STEPS
        for group in optimizer.param_groups:
            wave = (1 + math.cos(math.pi * share)) / 2
            group["lr"] = PEAK_RATE * min(1, (step + 1) / WARM_UP) * wave
        drawn = (sample(scenes, step * BATCH + number, grid) for number in range(BATCH))
        clips, labels, shown = zip(*drawn, strict=True)
        tokens = network.forward_features(torch.stack(clips))
        said = read(F.layer_norm(tokens, tokens.shape[-1:])).flatten(0, 1)
        where = F.cross_entropy(said, torch.cat(shown), weight=weight)
        loss = F.cross_entropy(network.forward_head(tokens), torch.tensor(labels))
        (loss + 2 * max(0.0, 1 - share / 0.7) * where).backward()
        nn.utils.clip_grad_norm_(both.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if stopped:
            STATE.parent.mkdir(parents=True, exist_ok=True)
            state = {"both": both.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state | {"step": step + 1}, STATE)
            sys.exit(f"Stopped after {step + 1} of {STEPS} steps: the same command goes on.")
    save_dense(student, RESULT)
    student.eval()
    data.setup("test")
    with torch.inference_mode():
        right = [
            (network(c.flatten(0, 1)).argmax(1) == y).float() for c, y in data.val_dataloader()
        ]
    print(f"{100 * torch.cat(right).mean():.1f} % of the validation clips. Written: {RESULT}")


if __name__ == "__main__":
    train()
