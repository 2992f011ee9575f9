"""How values look to people."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.web import show


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("178.34001159668", "178.3 MBq"),
        ("394", "394 MBq"),
        ("394.20", "394.2 MBq"),
        ("7400", "7400 MBq"),
        ("12345.6", "12346 MBq"),
        ("0.012345", "0.01234 MBq"),
        ("0", "0 MBq"),
    ],
)
def test_a_quantity_in_a_list_has_four_digits(value: str, shown: str) -> None:
    assert show.short_quantity({"value": Decimal(value), "unit": "MBq"}) == shown


def test_fhir_values_are_told_in_words() -> None:
    assert show.fhir({"coding": [{"code": "F-18"}], "text": "Fluorine"}) == "Fluorine"
    assert show.fhir({"coding": [{"system": "x", "code": "PT"}]}) == "PT"
    assert show.fhir([{"reference": "Patient/1"}, Decimal("1.50")]) == "Patient/1; 1.50"


def test_a_person_is_named_as_on_work_lists_and_markup_stays_text() -> None:
    assert show.person({"name": [{"family": "Peeters", "given": ["An", "Maria"]}]}) == "Peeters, An Maria"
    assert show.person({}) == "no name"
    assert show.breakable("a<b.c") == "a&lt;b.<wbr>c"


def test_sizes_and_numbers_are_short() -> None:
    assert (show.size(999), show.size(13_200_000), show.count(1_234_567)) == ("999 B", "13.2 MB", "1\u202f234\u202f567")
