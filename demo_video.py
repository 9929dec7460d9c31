"""Drop tubelets of embedded clips by two methods and show what it saves: `make demo-video`."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

REPORT = Path("reports/demo_video")
COLUMNS = ("backbone", "method", "rho", "acc1", "gmacs", "gmacs_share", "clips_per_s", "speedup")
OFF_THE_SHELF = {"method": "rlt", "rho": 0.5}  # most of these clips stands still
BATCH = 32


def main(config: DictConfig) -> None:
    """Fine-tune DynamicViT, compare it and run lengths with the dense network, draw survivors."""
    from hydra.core.hydra_config import HydraConfig

    from src.config import compose_config, instantiate
    from src.pictures import draw_token_maps
    from src.pictures.samples import inspect, spread_images
    from src.reports.tables import print_table, write_csv
    from src.runs.cost import cost_and_speed
    from src.runs.evaluation import test_accuracy
    from src.runs.training import fit

    _, trained, data, _ = fit(config)
    settings: Any = OmegaConf.to_container(config, resolve=True)
    quiet = instantiate(settings["trainer"], logger=False, enable_progress_bar=False)
    chosen = HydraConfig.get().runtime.choices

    def untrained(method: str, rho: float) -> Any:
        task = settings["task"] | compose_config([f"method={method}"], ["method"])
        task["schedule"] = task["schedule"] | {"rho": rho}
        return instantiate(task, num_classes=data.num_classes)

    students = [
        ("dense", 1.0, untrained("dense", 1.0)),
        (chosen.method, config.rho, trained),
        (*OFF_THE_SHELF.values(), untrained(**OFF_THE_SHELF)),
    ]
    REPORT.mkdir(parents=True, exist_ok=True)
    clips = spread_images(data.val_dataset(), 6)
    rows = []
    for method, rho, module in students:
        accuracy = test_accuracy(quiet, module, data)["acc1"]
        student = module.student.cpu().eval()
        measured = cost_and_speed(student, data.image_size, BATCH)
        rows.append(
            {
                "backbone": chosen.backbone,
                "method": method,
                "rho": rho,
                "acc1": accuracy,
                "gmacs": round(measured["gmacs"], 4),
                "gmacs_share": round(measured["gmacs_share"], 3),
                "clips_per_s": round(measured["images_per_s"], 1),
                "speedup": round(measured["speedup"], 2),
            }
        )
        if method != "dense":
            picture = draw_token_maps(clips, inspect(student, clips), data.normalization)
            picture.save(REPORT / f"{method}.png")
    write_csv(rows, REPORT / "results.csv", COLUMNS)
    print_table(rows, COLUMNS)
    print(
        f"{data.val_images} validation clips; clips/s at batch {BATCH}, "
        f"{measured['threads']} threads"
    )
    print(f"Table: {REPORT / 'results.csv'}\nWhat survives: {REPORT}/*.png")


if __name__ == "__main__":
    from src.runs.command import start

    start("train", main, "experiment=demo_video")
