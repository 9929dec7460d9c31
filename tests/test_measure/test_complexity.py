"""GMACs against the released code's, counted there by another counter."""

import pytest
import timm
import torch
from torch import nn

from src.measure.complexity import count_gmacs, count_params_m
from src.modules import create_student
from src.modules.methods.base import TokenReduction
from src.modules.schedules import arithmetic, geometric

# Released code under fvcore, one 224 px image: GMACs dense and by rho. fvcore also counts norms,
# hence the tolerance.
RELEASED = {
    "deit_256": (2.14, {0.9: 1.87, 0.8: 1.60, 0.7: 1.38, 0.6: 1.19, 0.5: 1.03}),
    "deit_s": (4.61, {0.9: 4.05, 0.8: 3.47, 0.7: 2.99, 0.6: 2.57, 0.5: 2.23}),
    "deit_b": (17.58, {0.9: 15.53, 0.8: 13.34, 0.7: 11.49, 0.6: 9.88, 0.5: 8.57}),
    "lvvit_s": (6.57, {0.9: 5.89, 0.8: 5.22, 0.7: 4.66, 0.5: 3.80}),
    "lvvit_m": (12.70, {0.9: 11.23, 0.8: 9.80, 0.7: 8.61, 0.5: 6.76}),
    "convnext_t": (4.47, {0.9: 3.92, 0.8: 3.75, 0.7: 3.59, 0.5: 3.27}),
    "convnext_s": (8.70, {0.9: 6.78, 0.8: 6.28, 0.7: 5.79, 0.5: 4.82}),
    "convnext_b": (15.38, {0.9: 11.96, 0.8: 11.08, 0.7: 10.21, 0.5: 8.48}),
    "swin_t": (4.51, {0.9: 4.27, 0.8: 4.16, 0.7: 4.06, 0.5: 3.86}),
    "swin_s": (8.77, {0.9: 7.53, 0.8: 7.20, 0.7: 6.88, 0.5: 6.23}),
    "swin_b": (15.47, {0.9: 13.27, 0.8: 12.69, 0.7: 12.11, 0.5: 10.96}),
}
# Parameters of the released checkpoints, in millions, dense and sparse.
PARAMETERS = {
    "deit_256": (9.98, 10.305),
    "deit_s": (22.05, 22.774),
    "deit_b": (86.57, 89.45),
    "lvvit_s": (26.15, 26.876),
    "lvvit_m": (55.83, 57.12),
    "convnext_t": (28.59, 30.505),
    "convnext_s": (50.22, 54.52),
    "convnext_b": (88.59, 96.22),
    "swin_t": (28.29, 29.755),
    "swin_s": (49.61, 52.71),
    "swin_b": (87.77, 93.27),
}


def create_released(name):
    plain = name.startswith(("deit", "lvvit"))
    return create_student(name, method="dynamicvit" if plain else "asymmetric")


@pytest.mark.slow
@pytest.mark.parametrize("name", RELEASED)
def test_agrees_with_released_table(name):
    dense, by_rho = RELEASED[name]
    with torch.device("meta"):
        student = create_released(name)
    assert count_gmacs(student.backbone, 224) == pytest.approx(dense, rel=0.01)
    ratios = geometric if isinstance(student.method, TokenReduction) else arithmetic
    before = dense
    smallest = name in ("deit_256", "lvvit_s", "convnext_t", "swin_t")
    for rho in by_rho if smallest else (0.7, 0.5):  # of larger ones docs/zoo.py counts some, too
        gmacs = by_rho[rho]
        student.method.schedule = ratios(rho, student.method.schedule.locations)
        counted = count_gmacs(student, 224)
        assert counted == pytest.approx(gmacs, rel=0.01), rho
        assert counted < before
        before = counted


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_released_ones(name):
    with torch.device("meta"):
        student = create_released(name)
    counted = count_params_m(student.backbone), count_params_m(student)
    assert counted == pytest.approx(PARAMETERS[name], abs=0.0051)


def test_a_hand_count():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 4 * 4, 5))
    assert count_gmacs(network, 4) * 1e9 == 8 * 16 * 27 + 8 * 16 * 5


def test_counting_leaves_the_network_alone():
    network = timm.create_model("vit_micro_patch8_80").train()
    count_gmacs(network, 80)
    assert network.training
    assert next(network.parameters()).device.type == "cpu"
