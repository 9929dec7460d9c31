"""All that is wrong is said at once; what has no effect is said too."""

import pytest

from tests.test_bad_inputs import apart, run, words  # noqa: F401


def errors(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("error: ")]


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize(
    ("call", "fragments"),
    [
        (
            "rho=1.5 optimizer.lr=0 backbone.pretrained=maybe optimizer.betas=[0.9,2]",
            ["rho=1.5 must", "optimizer.lr=0 must", "pretrained=maybe must", "betas=[0.9, 2] must"],
        ),
        (  # settings, devices, data and student
            "trainer.max_epochs=0 trainer.precision=odd datamodule=imagenet "
            "datamodule.root=/nowhere schedule.locations=[1,99]",
            ["trainer.max_epochs=0", "datamodule.root=/nowhere", "asks for block 99"],
        ),
        (
            "trainer.precision=odd datamodule.train_images=1 method=asymmetric",
            ["precision=odd", "datamodule.train_images=1 gives", "choose a token method"],
        ),
        (
            "trainer.devices=3 +trainer.strategy=ddp datamodule.train_images=5 monitor=val/acc9",
            ["at least 3 x datamodule.batch_size=2", "monitor=val/acc9"],
        ),
    ],
)
def test_all_that_is_wrong_at_once(call, fragments, capfd):
    assert run(words(f"train.py {call}", {})) == 2
    found = errors(capfd.readouterr().err)
    assert len(found) == len(fragments), found
    for fragment in fragments:
        assert any(fragment in line for line in found), fragment


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize(
    ("call", "fragment"),
    [
        ("train.py -m rho=0.7 hydra.sweep.subdir=a", "trainer.devices=1, or start it by torchrun"),
        ("eval.py predictions=x.csv backbone.weights=null trainer=cpu", "add trainer.devices=1"),
    ],
)
def test_what_several_processes_cannot_do(call, fragment, capfd):
    assert run([*words(call, {}), "trainer.devices=2", "+trainer.strategy=ddp"]) == 2
    assert fragment in errors(capfd.readouterr().err)[-1]


@pytest.mark.usefixtures("apart")
@pytest.mark.filterwarnings("ignore")
def test_what_has_no_effect_is_said(capfd):
    call = (
        "rho=0.5 method=random loss.keep_ratio.weight=3 ~callbacks.freeze_backbone.epochs "
        "callbacks.freeze_backbone.epochs=0 schedule=explicit schedule.ratios=[0.7] "
        "schedule.locations=[2] task.teacher.compiled=false"
    )
    assert run(words(f"train.py {call}", {})) == 0
    said = capfd.readouterr().err
    idle = [line for line in said.splitlines() if "has no effect" in line]
    assert [line.split()[0] for line in idle] == [
        "rho",
        "callbacks.freeze_backbone.epochs",
        "loss.keep_ratio.weight",
    ]
