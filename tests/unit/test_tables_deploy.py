"""Adapters are part of a deployment: one that is wrong, or whose test fails, keeps the whole from being put in force."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.errors import Misconfigured
from gateway.mapping.language import load
from gateway.spool.mapping_versions import snapshot
from gateway.tables.library import load_adapters
from gateway.workbench.deploy import count_passed
from tests.conftest import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "mappings", tmp_path / "mappings")
    return tmp_path / "mappings"


def test_a_failing_test_of_an_adapter_stops_a_deployment(folder: Path) -> None:
    codes = load(folder).codes
    assert count_passed(load_adapters(folder, codes)) >= 31
    path = folder / "tables" / "pytheranostics_dose.yaml"
    path.write_text(path.read_text().replace("value: 2.741417121338495", "value: 3"))
    with pytest.raises(
        Misconfigured, match=r"tables/pytheranostics_dose\.yaml:\d+:\d+: pytheranostics_dose: dose and coefficient"
    ):
        count_passed(load_adapters(folder, codes))


def test_adapters_are_in_the_version_that_is_deployed(folder: Path) -> None:
    before = snapshot(folder)
    path = folder / "tables" / "pytheranostics_dose.yaml"
    path.write_text(path.read_text() + "# looked at\n")
    assert snapshot(folder).changes(before) == ["tables/pytheranostics_dose.yaml (changed)"]
