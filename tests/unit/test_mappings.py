"""The shipped mappings: nothing to complain about, and each of their inline tests holds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway import yamlfile
from gateway.mapping.language import Mapping, lint, load
from gateway.mapping.rules import MappingTest
from gateway.workbench.selftest import run_test

DIRECTORY = Path(__file__).resolve().parents[2] / "mappings"
MAPPINGS = load(DIRECTORY)
CASES = [(mapping, test) for mapping in MAPPINGS for test in mapping.tests]


def test_the_shipped_mappings_have_no_complaints() -> None:
    assert [str(complaint) for complaint in lint(DIRECTORY)] == []


@pytest.mark.parametrize(("mapping", "test"), CASES, ids=[f"{mapping.name}: {test.name}" for mapping, test in CASES])
def test_inline(mapping: Mapping, test: MappingTest) -> None:
    result = run_test(mapping, test, MAPPINGS)
    assert result.ok, "\n".join((result.where, *result.reasons))


def test_the_worked_example_of_the_guide_is_the_shipped_one_and_works(tmp_path: Path) -> None:
    guide = (DIRECTORY.parent / "docs" / "mapping-guide.md").read_text()
    example = guide.split("```yaml\n")[1].split("```")[0]
    (tmp_path / "example.yaml").write_text(example.replace("PETCT1", "EXAMPLE-PETCT1"))
    assert yamlfile.read(tmp_path / "example.yaml").data == yamlfile.read(DIRECTORY / "sites" / "example.yaml").data
    shutil.copytree(DIRECTORY, tmp_path / "mappings")
    (tmp_path / "mappings" / "sites" / "petct1.yaml").write_text(example)
    mappings = load(tmp_path / "mappings")
    mapping = mappings.named("petct1")
    assert [reason for test in mapping.tests for reason in run_test(mapping, test, mappings).reasons] == []
    assert len(mapping.tests) == 2
