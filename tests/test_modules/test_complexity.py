"""GMACs against the released code's, counted there by another counter."""

import pytest
import timm
from torch import nn

from src.modules import create_student
from src.modules.complexity import count_gmacs, count_params_m
from src.modules.schedules import geometric

# Released code under fvcore, one 224 px image: params in millions, then GMACs dense and by rho.
# fvcore also counts norms, hence the tolerance.
RELEASED = {
    "deit_256": (10.31, 2.14, {0.9: 1.87, 0.8: 1.60, 0.7: 1.38, 0.6: 1.19, 0.5: 1.03}),
    "deit_s": (22.77, 4.61, {0.9: 4.05, 0.8: 3.47, 0.7: 2.99, 0.6: 2.57, 0.5: 2.23}),
    "deit_b": (89.45, 17.58, {0.9: 15.53, 0.8: 13.34, 0.7: 11.49, 0.6: 9.88, 0.5: 8.57}),
}


@pytest.mark.parametrize("name", RELEASED)
def test_agrees_with_released_table(name):
    params, dense, by_rho = RELEASED[name]
    student = create_student(name)
    assert count_params_m(student) == pytest.approx(params, abs=0.01)
    assert count_gmacs(student.backbone, 224) == pytest.approx(dense, rel=0.01)
    before = dense
    for rho, gmacs in by_rho.items():
        student.method.schedule = geometric(rho, (3, 6, 9))
        counted = count_gmacs(student, 224)
        assert counted == pytest.approx(gmacs, rel=0.01), rho
        assert counted < before
        before = counted


def test_a_hand_count():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 4 * 4, 5))
    assert count_gmacs(network, 4) * 1e9 == 8 * 16 * 27 + 8 * 16 * 5


def test_counting_leaves_the_network_alone():
    network = timm.create_model("vit_micro_patch8_80").train()
    count_gmacs(network, 80)
    assert network.training
    assert next(network.parameters()).device.type == "cpu"
