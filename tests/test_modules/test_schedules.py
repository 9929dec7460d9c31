import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.errors import InputError
from src.modules import schedules
from src.modules.schedules import KeepSchedule

WHERE = (3, 6, 9)


@pytest.mark.parametrize(
    ("rho", "counts"),
    [
        (0.9, [176, 158, 142]),
        (0.8, [156, 125, 100]),
        (0.7, [137, 96, 67]),
        (0.6, [117, 70, 42]),
        (0.5, [98, 49, 24]),
    ],
)
def test_geometric_counts_of_the_paper(rho, counts):
    schedule = schedules.geometric(rho, WHERE)
    assert [schedule.num_keep(i, 196) for i in range(3)] == counts


def test_shapes_of_the_schedules():
    assert schedules.arithmetic(0.7, WHERE).ratios == pytest.approx((0.7, 0.5, 0.3))
    assert schedules.linear(0.4, WHERE).ratios == pytest.approx((0.8, 0.6, 0.4))
    assert schedules.constant(0.7, WHERE).ratios == (0.7, 0.7, 0.7)
    assert schedules.explicit([0.9, 0.2], (1, 2)).ratios == (0.9, 0.2)


def test_rounding_error_costs_no_patch():
    # 0.7 - 0.2 is 0.49999... in floating point, and 98 of 196 patches are meant.
    assert schedules.arithmetic(0.7, WHERE).num_keep(1, 196) == 98


def test_papers_locations():
    assert schedules.evenly_spaced(12) == (3, 6, 9)
    assert schedules.evenly_spaced(16) == (4, 8, 12)
    assert schedules.evenly_spaced(20) == (5, 10, 15)


@given(st.floats(1e-3, 1), st.integers(1, 2000))
def test_counts_are_possible_and_never_rise(rho, patches):
    schedule = schedules.geometric(rho, WHERE)
    counts = [schedule.num_keep(i, patches) for i in range(3)]
    assert all(1 <= count <= patches for count in counts)
    assert counts == sorted(counts, reverse=True)


def test_no_ratio_below_zero():
    with pytest.raises(InputError, match=r"keep ratio -0\.1 at location 9"):
        schedules.arithmetic(0.3, WHERE)


def test_frozen():
    with pytest.raises(AttributeError):
        KeepSchedule((1,), (0.5,)).ratios = (1.0,)


@pytest.mark.parametrize(
    ("locations", "ratios", "words"),
    [
        (3, (0.5,), r"^schedule\.locations=3 is no list, as \[3,6,9\]"),
        ((3,), 0.5, r"^schedule\.ratios=0\.5 is no list, as \[0\.7,0\.5,0\.3\]"),
        ((True,), (0.5,), r"^schedule\.locations=\[True\] has True: block indices are whole"),
        ((3,), ("0.5",), r"^The keep ratio '0\.5' at location 3 is not a number"),
    ],
)
def test_what_is_no_schedule_is_refused(locations, ratios, words):
    with pytest.raises(InputError, match=words):
        KeepSchedule(locations, ratios)
