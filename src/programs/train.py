"""Train a sparse network, or go on with a training.

tokenthrift train                                              embedded digits, minutes on a CPU
tokenthrift train experiment=finetune datamodule.root=DIR        your own folder of photographs
tokenthrift train backbone=deit_s rho=0.7 datamodule.root=DIR  the paper's experiment on ImageNet
tokenthrift train backbone=swin_t rho=0.7 datamodule.root=DIR  slow and fast paths
tokenthrift train experiment=deit_s_0.7 datamodule.root=DIR    a released model's recipe
tokenthrift train task=segmentation backbone=swin_t datamodule=ade20k datamodule.root=DIR
tokenthrift train -m rho=0.5,0.7,0.9                           a sweep over the keep ratio
tokenthrift train backbone=deit_b debug=smoke                  a few steps, to see that it runs
tokenthrift train ckpt_path=logs/.../last.ckpt                 resume
"""

from __future__ import annotations

from omegaconf import DictConfig

from ..shell.importing import without_collecting


def main(config: DictConfig) -> float | None:
    """Train; return the monitored metric for a sweeper."""
    from ..runs.submitted import join_submitted_job

    join_submitted_job()

    with without_collecting():
        from ..runs.training import train

    return train(config)


if __name__ == "__main__":
    from ..runs.command import start

    start("train", main)
