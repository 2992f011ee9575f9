"""The unit of an activity: taken as declared, repaired when one reading is left, else withheld (design: no wrong number)."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.nuclear.activity import READINGS, Reading, Withheld, read_activity
from gateway.nuclear.nuclide import Nuclide
from gateway.nuclear.units import convert

F18 = Nuclide(name="F-18", element="Fluorine", plausible_mbq=(Decimal(1), Decimal(2000)))
I131 = Nuclide(name="I-131", element="Iodine", plausible_mbq=(Decimal("0.1"), Decimal(20000)))


@pytest.mark.parametrize(
    ("number", "declared", "mbq", "unit", "repaired"),
    [
        ("394000000", "Bq", "394", "Bq", False),
        ("370", "Bq", "370", "MBq", True),  # GE and Philips: MBq in a PET header
        ("394000", "Bq", "394", "kBq", True),
        ("320", "MBq", "320", "MBq", False),  # as NM wants it
        ("320000000", "MBq", "320", "Bq", True),  # Bq in an NM header
        ("10", "MBq", "10", "MBq", False),  # declared and plausible: never questioned
    ],
)
def test_a_number_is_understood(number: str, declared: str, mbq: str, unit: str, repaired: bool) -> None:
    assert read_activity(Decimal(number), declared, F18) == Reading(mbq=Decimal(mbq), unit=unit, repaired=repaired)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("10", "MBq or in mCi: ambiguous"),  # 10 MBq or 10 mCi
        ("0.394", "GBq or in mCi: ambiguous"),
        ("0.0000001", "in any of"),
        ("0", "not above zero"),
        ("-370000000", "not above zero"),
        ("3E15", "in any of"),
    ],
)
def test_a_number_that_may_be_wrong_is_withheld(number: str, reason: str) -> None:
    withheld = read_activity(Decimal(number), "Bq", F18)
    assert isinstance(withheld, Withheld)
    assert reason in withheld.reason


def test_an_unknown_nuclide_is_taken_as_declared_and_never_repaired() -> None:
    assert read_activity(Decimal("5E8"), "Bq", None) == Reading(mbq=Decimal(500), unit="Bq", repaired=False)
    assert isinstance(read_activity(Decimal(370), "Bq", None), Withheld)


def test_a_wide_range_makes_more_readings_plausible() -> None:
    assert isinstance(read_activity(Decimal(370), "Bq", I131), Withheld)  # 370 MBq, or 370 mCi = 13.7 GBq


@given(st.decimals("1E-9", "1E12", places=3), st.sampled_from(READINGS))
def test_whatever_is_published_is_plausible_and_a_repair_was_the_only_choice(number: Decimal, declared: str) -> None:
    understood = read_activity(number, declared, F18) if number > 0 else Withheld(reason="")
    if isinstance(understood, Reading):
        assert 1 <= understood.mbq <= 2000
        if understood.repaired:
            assert [unit for unit in READINGS if 1 <= convert(number, unit, "MBq") <= 2000] == [understood.unit]
