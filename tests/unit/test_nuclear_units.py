"""Conversions are exact, and every sender's spelling of a number becomes one."""

from __future__ import annotations

from decimal import Context, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.nuclear.units import KNOWN, convert, plain
from gateway.r4.units import UCUM_CODES


@pytest.mark.parametrize(
    ("value", "source", "target", "result"),
    [
        ("394000000", "Bq", "MBq", "394"),
        ("3.88777472E8", "Bq", "MBq", "388.777472"),
        ("10", "mCi", "MBq", "370"),
        ("7.4", "GBq", "MBq", "7400"),
        ("1", "Ci", "GBq", "37"),
        ("109.77", "min", "s", "6586.2"),
        ("6.647", "d", "s", "574300.8"),
        ("4.50", "cm3", "mL", "4.5"),
        ("50000000", "Bq/umol", "Bq/mmol", "50000000000"),
        ("178340011.59668", "Bq", "MBq", "178.34001159668"),
        ("605", "mGy/GBq", "mGy/MBq", "0.605"),
        ("57213828", "MBq.s", "MBq.h", "15892.73"),
        ("475", "cGy{BED}", "Gy{BED}", "4.75"),
        ("0.00665", "Sv", "mSv", "6.65"),
        ("100", "min", "h", "1.66666666667"),
    ],
)
def test_a_conversion_is_exact(value: str, source: str, target: str, result: str) -> None:
    assert str(convert(Decimal(value), source, target)) == result


@pytest.mark.parametrize(("source", "target"), [("Bq", "s"), ("Bq", "furlong"), ("rem", "MBq")])
def test_units_of_different_things_do_not_mix(source: str, target: str) -> None:
    with pytest.raises(ValueError, match="cannot convert"):
        convert(Decimal(1), source, target)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value="-1E20", max_value="1E20", places=6))
def test_plain_changes_the_spelling_never_the_number(value: Decimal) -> None:
    assert plain(value) == value
    assert "E" not in str(plain(value)) or abs(value) < 1
    assert str(plain(value * 1)) == str(plain(Decimal(f"{value:E}")))


#: Unit, another unit, how many of the first one of the second is.
FACTORS = [("MBq", "mCi", 37), ("MBq", "GBq", 1000), ("min", "h", 60), ("s", "h", 3600), ("h", "d", 24), ("MBq.s", "MBq.h", 3600)]


@given(st.decimals(min_value=1, max_value=100000, places=3), st.sampled_from(FACTORS))
def test_a_number_that_was_written_in_another_unit_with_14_digits_comes_back(value: Decimal, units: tuple[str, str, int]) -> None:
    """DICOM's Decimal String has 16 characters (PS3.5 6.2): what a converter wrote is cut."""
    unit, other, factor = units
    written = Context(prec=14).divide(value, Decimal(factor))
    assert convert(written, other, unit) == plain(value)


def test_fhir_knows_every_unit_that_a_source_may_state() -> None:
    assert KNOWN <= UCUM_CODES


@pytest.mark.parametrize(
    ("one", "other"), [("Gy", "Gy{BED}"), ("Gy{BED}", "Gy{EQD2}"), ("Gy", "Sv"), ("mGy/MBq", "Gy"), ("h", "MBq.h")]
)
def test_a_dose_is_never_taken_for_another_kind_of_dose(one: str, other: str) -> None:
    with pytest.raises(ValueError, match="cannot convert"):
        convert(Decimal(1), one, other)
