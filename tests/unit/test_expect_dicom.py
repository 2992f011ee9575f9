"""What ``expect.dicom`` means, as the reference page says it: words go out, ``""`` is removed, ``null`` stays as it was received."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.mapping import definition
from gateway.mapping.language import load
from gateway.workbench.selftest import run_tests
from tests.unit.mapping_files import directory

MAPPING = """\
match: everything
dicom:
  elements:
    StationName: {value: PETCT1}
    OperatorsName: {remove: true}
example: {SOPClassUID: 1.2.840.10008.5.1.4.1.1.128, StationName: X, OperatorsName: A^B, SeriesDescription: WB}
tests:
  - name: one
    expect: {dicom: DICOM}
"""


@pytest.mark.parametrize(
    ("dicom", "green"),
    [
        ("{StationName: PETCT1}", True),
        ("{StationName: null}", False),
        ('{OperatorsName: ""}', True),
        ("{OperatorsName: null}", False),
        ("{SeriesDescription: null}", True),
        ('{SeriesDescription: ""}', False),
    ],
)
def test_what_goes_out_what_is_removed_and_what_stays(tmp_path: Path, dicom: str, green: bool) -> None:
    results = run_tests(load(directory(tmp_path, one=MAPPING.replace("DICOM", dicom))))
    assert [result.ok for result in results] == [green], results


def test_the_reference_says_the_same() -> None:
    (key,) = (key for key in definition.EXPECT_KEYS if key.name == "dicom")
    assert '`""`: it is removed; `null`: it stays as it was received' in key.says
