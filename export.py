"""Write a student as ONNX or torch.export's format, compare it with PyTorch and time it."""

import sys

if __name__ == "__main__":
    from src.stopping import end_silently_while_importing

    end_silently_while_importing()

import json
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf


@hydra.main(config_path="conf", config_name="export", version_base="1.3")
def main(config: DictConfig) -> None:
    """Compose, check, export."""
    from hydra.core.hydra_config import HydraConfig

    from src.evaluation import print_table
    from src.export.check import export_and_check
    from src.recorded import with_recorded_run
    from src.validation import check_config
    from src.whole import whole_file

    config = with_recorded_run(config, HydraConfig.get().overrides.task)
    check_config(config)
    rows = export_and_check(OmegaConf.to_container(config, resolve=True))
    print_table(rows, list(rows[0]))
    folder = Path(HydraConfig.get().runtime.output_dir)
    with whole_file(folder / "export.json") as partial:
        partial.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"Written: {rows[0]['file']}")


if __name__ == "__main__":
    from eval import add_recorded_choices
    from src.errors import one_sentence_errors
    from src.help import help_if_asked
    from src.shell import for_hydra
    from src.sweep.name import name_sweep

    with one_sentence_errors():
        help_if_asked("export", sys.argv[1:])
        sys.argv[1:] = for_hydra(name_sweep(add_recorded_choices(sys.argv[1:])))
        main()
