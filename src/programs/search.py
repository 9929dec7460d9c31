"""Search where and how many tokens to drop within a budget, on photographs without labels.

tokenthrift search ckpt_path=FILE images=photos budget=0.5 file=mine/schedule/searched.yaml
tokenthrift search backbone=deit_s method=evit images=photos gmacs=2.3
tokenthrift eval backbone=deit_s method=evit schedule=searched --config-dir mine datamodule.root=DIR
"""

from __future__ import annotations

from omegaconf import DictConfig

from ..shell.importing import without_collecting

PATHS = ("images",)  # settings that hold a path, although their name does not say so


def main(config: DictConfig) -> None:
    """Search, write, say what was found."""
    with without_collecting():
        from ..runs.searching import run_search

    run_search(config)


if __name__ == "__main__":
    from ..runs.command import start

    start("search", main)
