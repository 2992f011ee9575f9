"""Decay against the reference vectors (standards.md B.3)."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.nuclear.decay import activity_after, decay_factor, mean_activity_offset_s, net_activity

F18_S = Decimal("6586.2")


@pytest.mark.parametrize(
    ("activity", "elapsed_s", "half_life_s", "left"),
    [
        ("350000000", 3600, "6586.2", "239621521.85"),  # vector 1
        ("150000000", 3600, "4062.6", "81159420.4"),  # vector 7, Ga-68
        ("300000000", 2700, "6586.2", "225795139.0"),  # vector 8, over midnight
        ("37000000", 432000, "282276", "12808559.5"),  # vector 9, Zr-89 after five days
    ],
)
def test_what_is_left_agrees_with_the_reference(activity: str, elapsed_s: int, half_life_s: str, left: str) -> None:
    found = activity_after(Decimal(activity), Decimal(elapsed_s), Decimal(half_life_s))
    assert float(found) == pytest.approx(float(left), rel=1e-8)


def test_the_net_activity_subtracts_the_residual_at_the_instant_of_administration() -> None:
    found = net_activity(
        before=Decimal("382.0"), before_s=Decimal(600), residual=Decimal("8.4"), residual_s=Decimal(300), half_life_s=F18_S
    )
    assert float(found) == pytest.approx(349.9548, abs=1e-4)  # vector 14


def test_the_mean_activity_of_a_frame_comes_a_little_before_its_middle() -> None:
    assert float(mean_activity_offset_s(Decimal(180), F18_S)) == pytest.approx(89.857923, rel=1e-7)  # vector 10


def test_time_runs_both_ways() -> None:
    assert decay_factor(Decimal(-1000), F18_S) * decay_factor(Decimal(1000), F18_S) == pytest.approx(Decimal(1))


@pytest.mark.parametrize("half_life", ["0", "-1"])
def test_a_half_life_must_be_above_zero(half_life: str) -> None:
    with pytest.raises(ValueError, match="above zero"):
        decay_factor(Decimal(1), Decimal(half_life))
