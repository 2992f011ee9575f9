"""What the terminal shows of values: numbers as they were written, nothing of Python."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import main
from gateway.model import Json
from gateway.workbench.deploy import difference_line
from gateway.workbench.mapping_diff import Difference, What
from gateway.workbench.plain import plain, quoted
from tests.unit.mapping_files import directory


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("1.50"), "1.50"),
        ({"value": Decimal(481), "unit": "MBq"}, '{"value":481,"unit":"MBq"}'),
        ([Decimal("0.5"), True], "[0.5,true]"),
        ("words", "words"),
        (None, "nothing"),
    ],
)
def test_a_value_is_shown_as_it_was_written(value: Json, text: str) -> None:
    assert plain(value) == text
    difference = Difference(what=What.ELEMENT, subject="s", element="e", old=value, new=None)
    assert difference_line(difference) == f"s  e: {text} -> nothing"


def test_a_number_and_its_digits_as_text_are_told_apart() -> None:
    assert (quoted("481"), quoted(Decimal(481))) == ('"481"', "481")


def test_a_test_that_fails_says_where_it_stands_and_what_is_wrong(tmp_path: Path) -> None:
    text = """\
match: everything
fields:
  study.weight: {from: PatientWeight, as: quantity, unit: {in: kg, out: kg}}
example: {PatientWeight: "71.50"}
tests:
  - name: the weight
    expect: {fields: {study.weight: {value: 70}}}
"""
    mappings = directory(tmp_path / "mappings", one=text)
    found = CliRunner().invoke(main, ["mappings", "test", "--set", f"mappings.directory={mappings}"])
    assert found.exit_code == 1
    assert "FAIL  one.yaml:6:5:  one: the weight" in found.output
    assert "study.weight.value should be 70 and is 71.50" in found.output
