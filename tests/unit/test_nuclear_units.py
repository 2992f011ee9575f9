"""Conversions are exact, and every sender's spelling of a number becomes one."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.nuclear.units import convert, plain


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
