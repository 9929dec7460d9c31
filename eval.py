"""Evaluate a checkpoint, released weights or a dense network at any keep ratio."""

import sys

if __name__ == "__main__":
    from src.stopping import end_silently_while_importing

    end_silently_while_importing()

from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf


@hydra.main(config_path="conf", config_name="eval", version_base="1.3")
def main(config: DictConfig) -> float | None:
    """Compose, check, evaluate; return the task's metric in percent."""
    from src.sweep.cell import metric_of, run_cell

    result = run_cell(config, row)
    metric = metric_of(result)
    return result[metric] if metric else None


def row(config: DictConfig) -> dict[str, Any]:
    """Evaluate one student; what `result.json` will say."""
    import lightning as L
    from hydra.core.hydra_config import HydraConfig

    from src.evaluation import evaluate, print_table
    from src.recorded import with_recorded_run
    from src.validation import check_config

    config = with_recorded_run(config, HydraConfig.get().overrides.task)
    check_config(config)
    settings = OmegaConf.to_container(config, resolve=True)
    L.seed_everything(settings["seed"], workers=True, verbose=False)
    choices = HydraConfig.get().runtime.choices
    result = evaluate(settings, {name: choices[name] for name in ("backbone", "method")})
    print_table([result], [name for name in result if name != "maps"])
    return result


def add_recorded_choices(arguments: list[str]) -> list[str]:
    """Let a checkpoint's own backbone and data be the defaults of the command line."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    path = given.get("ckpt_path", "null")
    if path == "null":
        return arguments
    from src.recorded import recorded_choices

    choices = recorded_choices(path)
    return [f"{group}={name}" for group, name in choices.items() if group not in given] + arguments


if __name__ == "__main__":
    from src.errors import one_sentence_errors
    from src.help import help_if_asked
    from src.sweep.name import name_sweep

    with one_sentence_errors():
        help_if_asked("eval", sys.argv[1:])
        sys.argv[1:] = name_sweep(add_recorded_choices(sys.argv[1:]))
        main()
