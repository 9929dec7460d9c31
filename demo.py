"""Sparsify a small vision transformer on embedded data and show what it saves: `make demo`."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

REPORT = Path("reports/demo")
COLUMNS = ("backbone", "method", "rho", "acc1", "gmacs", "gmacs_share", "images_per_s", "speedup")


def main(config: DictConfig) -> None:
    """Fine-tune, compare with the dense network, draw what survives."""
    from hydra.core.hydra_config import HydraConfig

    from src.config import compose_config, instantiate
    from src.pictures import draw_token_maps
    from src.pictures.samples import inspect, spread_images
    from src.reports.tables import print_table, write_csv
    from src.runs.cost import cost_and_speed
    from src.runs.evaluation import test_accuracy
    from src.runs.training import fit

    _, module, data, _ = fit(config)
    settings = OmegaConf.to_container(config, resolve=True)
    task = settings["task"] | compose_config(["method=dense"], ["method"])
    dense = instantiate(task, num_classes=data.num_classes)
    quiet = instantiate(settings["trainer"], logger=False, enable_progress_bar=False)
    accuracy = {
        "dense": test_accuracy(quiet, dense, data)["acc1"],
        "sparse": test_accuracy(quiet, module, data)["acc1"],
    }
    chosen = HydraConfig.get().runtime.choices
    student = module.student.cpu()
    measured = cost_and_speed(student, data.image_size, batch_size=32)

    def row(method: str, rho: float, kind: str, suffix: str, share: float, speedup: float) -> dict:
        return {
            "backbone": chosen.backbone,
            "method": method,
            "rho": rho,
            "acc1": accuracy[kind],
            "gmacs": round(measured[f"gmacs{suffix}"], 4),
            "gmacs_share": round(share, 3),
            "images_per_s": round(measured[f"images_per_s{suffix}"], 1),
            "speedup": round(speedup, 2),
        }

    rows = [
        row("dense", 1.0, "dense", "_dense", 1.0, 1.0),
        row(chosen.method, config.rho, "sparse", "", measured["gmacs_share"], measured["speedup"]),
    ]
    write_csv(rows, REPORT / "results.csv", COLUMNS)
    images = spread_images(data.val_dataset(), 8)
    picture = draw_token_maps(images, inspect(student, images), data.normalization)
    picture.save(REPORT / "tokens.png")
    print_table(rows, COLUMNS)
    print(
        f"{data.val_images} validation images; images/s at batch 32, {measured['threads']} threads"
    )
    print(f"Table: {REPORT / 'results.csv'}\nWhat survives each stage: {REPORT / 'tokens.png'}")


if __name__ == "__main__":
    from src.runs.command import start

    start("train", main, "experiment=demo")
