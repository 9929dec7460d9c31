import pytest

from src.modules import create_student
from src.modules.optim import parameter_groups, scaled_lr, warmup_cosine


def test_groups():
    student = create_student("vit_micro", method="dynamicvit")
    groups = {g["name"]: g for g in parameter_groups(student, 1e-3, 0.01, 0.05)}
    assert groups.keys() == {
        "backbone/decay",
        "backbone/no_decay",
        "method/decay",
        "method/no_decay",
    }
    assert groups["method/decay"]["lr"] == 1e-3
    assert groups["backbone/decay"]["lr"] == pytest.approx(1e-5)
    assert all(p.ndim > 1 for p in groups["backbone/decay"]["params"])
    # Class token and position embedding learn, but do not decay.
    exempt = {id(p) for p in groups["backbone/no_decay"]["params"]}
    assert id(student.backbone.cls_token) in exempt
    assert id(student.backbone.pos_embed) in exempt
    assert sum(len(g["params"]) for g in groups.values()) == len(list(student.parameters()))


def test_the_rate_follows_the_effective_batch():
    assert scaled_lr(1e-3, 64, 1024) == pytest.approx(6.25e-5)


def test_warmup_and_cosine():
    factor = warmup_cosine(peak=1e-3, minimum=1e-6, warmup_steps=10, total_steps=110)
    assert factor(0) == pytest.approx(0.1)
    assert factor(9) == factor(10) == pytest.approx(1)
    assert factor(60) == pytest.approx(0.5005, abs=1e-3)
    assert factor(110) == pytest.approx(1e-3)
    assert all(factor(i) >= factor(i + 1) for i in range(10, 110))
    assert warmup_cosine(1e-9, 1e-6, 0, 5)(5) == 1  # never rises above the peak
