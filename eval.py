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
    """Let the checkpoint's own backbone and data be the defaults of the command line.

    Raises:
        InputError: If a sweep's checkpoints come from runs that chose differently.
    """
    from src.errors import InputError
    from src.shell import for_hydra, parsed, texts

    given = {
        override.key_or_group: override
        for override in map(parsed, for_hydra(arguments))
        if override
    }
    paths = texts(given["ckpt_path"]) if "ckpt_path" in given else []
    if not paths:
        return arguments
    from src.recorded import recorded_choices

    all_choices = [recorded_choices(path) for path in paths]
    for path, choices in zip(paths, all_choices, strict=True):
        for group in sorted((choices | all_choices[0]).keys() - given.keys()):
            if choices.get(group) != all_choices[0].get(group):
                raise InputError(
                    f"ckpt_path={paths[0]} has {group}={all_choices[0].get(group)} and {path} "
                    f"{group}={choices.get(group)}: evaluate them one by one, or add {group}=NAME "
                    "for both."
                )
    added = [f"{group}={name}" for group, name in all_choices[0].items() if group not in given]
    return added + arguments


if __name__ == "__main__":
    from src.errors import one_sentence_errors
    from src.help import help_if_asked
    from src.shell import for_hydra
    from src.sweep.name import name_sweep

    with one_sentence_errors():
        help_if_asked("eval", sys.argv[1:])
        sys.argv[1:] = for_hydra(name_sweep(add_recorded_choices(sys.argv[1:])))
        main()
