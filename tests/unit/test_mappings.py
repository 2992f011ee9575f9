"""The shipped mappings: nothing to complain about, and each of their inline tests holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.mapping.language import Mapping, lint, load
from gateway.mapping.rules import MappingTest
from gateway.workbench.selftest import run_test, unproven_fields

DIRECTORY = Path(__file__).resolve().parents[2] / "mappings"
MAPPINGS = load(DIRECTORY)
CASES = [(mapping, test) for mapping in MAPPINGS for test in mapping.tests]


def test_the_shipped_mappings_have_no_complaints() -> None:
    assert [str(complaint) for complaint in lint(DIRECTORY)] == []


@pytest.mark.parametrize(("mapping", "test"), CASES, ids=[f"{mapping.name}: {test.name}" for mapping, test in CASES])
def test_inline(mapping: Mapping, test: MappingTest) -> None:
    result = run_test(mapping, test)
    assert result.ok, "\n".join((result.where, *result.reasons))


@pytest.mark.parametrize("mapping", list(MAPPINGS), ids=lambda mapping: mapping.name)
def test_every_field_is_proven_by_an_inline_test(mapping: Mapping) -> None:
    """Each field is dropped in turn: where no test then fails, the rule could be wrong for years."""
    assert unproven_fields(mapping) == []
