"""Prints `--help`. Hydra's own takes three times as long to look up the options."""

from __future__ import annotations

import sys

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ..config import CONF
from .arguments import for_hydra, parsed

_EXAMPLES = """
  python train.py                                              embedded digits, minutes on a CPU
  python train.py backbone=deit_s rho=0.7 datamodule.root=DIR   the paper's experiment on ImageNet
  python train.py backbone=swin_t rho=0.7 datamodule.root=DIR   slow and fast paths
  python train.py experiment=deit_s_0.7 datamodule.root=DIR    a released model's recipe
  python train.py task=segmentation backbone=swin_t datamodule=ade20k datamodule.root=DIR
  python train.py -m rho=0.5,0.7,0.9                           a sweep over the keep ratio
  python train.py backbone=deit_b debug=smoke                  a few steps, to see that it runs
  python train.py ckpt_path=logs/.../last.ckpt                 resume
  python eval.py ckpt_path=logs/.../best.ckpt rho=0.5          a checkpoint at any keep ratio
  python eval.py backbone=deit_s ckpt_path=FILE datamodule.root=DIR   released or dense weights
  python export.py ckpt_path=logs/.../best.ckpt file=student.onnx     ONNX, checked and timed
"""


def help_if_asked(program: str, arguments: list[str]) -> None:
    """Print help and exit if `-h` or `--help` is among the arguments.

    Args:
        program: `train`, `eval` or `export`.
        arguments: The command line; its overrides count for the settings shown.
    """
    if not {"-h", "--help"} & set(arguments):
        return
    words = [word for word in for_hydra(arguments) if not word.startswith("-")]
    read = {word: parsed(word) for word in words}
    overrides = [word for word, one in read.items() if one is None or not one.is_sweep_override()]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(program, overrides=overrides)
    groups = sorted(path for path in CONF.iterdir() if path.is_dir() and path.name != "hydra")
    print(f"tokenthrift {program}: sparse vision networks\n\nExamples{_EXAMPLES}")
    print("Choices (group=option)")
    for group in groups:
        print(f"  {group.name}: {', '.join(sorted(path.stem for path in group.glob('*.yaml')))}")
    print("\nSettings (override as key=value; below is what the given choices amount to)\n")
    print(OmegaConf.to_yaml(config))
    print("Hydra's own flags: --hydra-help")
    sys.exit(0)
