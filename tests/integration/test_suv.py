"""A researcher makes SUVs from the published Observation alone: against a phantom of known truth, by the lines of docs/suv.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.dataset import Dataset

from gateway.config import Derive
from tests.builders import ABSENT, part10, pet, uid
from tests.conftest import ROOT
from tests.web_site import Site

SLICES, PIXELS = 5, 16
SERIES = str(pet().SeriesInstanceUID)
#: The truth, and what a scanner would make of it: written down here, not taken from the gateway.
TRUTH: npt.NDArray[np.float64] = np.random.default_rng(177).uniform(0.05, 25.0, (SLICES, PIXELS, PIXELS))
WEIGHT_G, ACTIVITY_BQ, HALF_LIFE_S, UPTAKE_S = 75_000.0, 350e6, 6586.2, 3600.0
Suv = Callable[..., npt.NDArray[np.float64]]


def scanned(number: int, **changes: Any) -> Dataset:
    """A slice of the truth in Bq/mL at the start of the series, with a slope of its own."""
    concentration = TRUTH[number] * ACTIVITY_BQ * 2 ** (-UPTAKE_S / HALF_LIFE_S) / WEIGHT_G
    slope = float(f"{concentration.max() / 32000:.7g}")
    dataset = pet(
        SOPInstanceUID=uid(f"truth/{number}"),
        InstanceNumber=number + 1,
        RescaleSlope=f"{slope:.7g}",
        RescaleIntercept="0",
        Rows=PIXELS,
        Columns=PIXELS,
        NumberOfSlices=SLICES,
        **changes,
    )
    dataset.PixelData = np.rint(concentration / slope).astype("<i2").tobytes()
    return dataset


@pytest.fixture(scope="module")
def documented() -> Suv:
    """The function of docs/suv.md, as it stands there."""
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "suv.md").read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102  our own documentation
    found: Suv = names["suv"]
    return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    running = Site(tmp_path / "site")
    yield running
    running.close()


def observation(site: Site, series: str = SERIES) -> dict[str, Any]:
    query = {"identifier": f"urn:dicom:uid|urn:oid:{series}", "code": "suv-scale-factor"}
    entries = site.get("/fhir/Observation", params=query).json().get("entry", [])
    assert len(entries) == 1, entries
    found: dict[str, Any] = entries[0]["resource"]
    return found


def test_the_documented_lines_give_the_truth(site: Site, documented: Suv, tmp_path: Path) -> None:
    slices = [scanned(number) for number in range(SLICES)]
    assert len({str(one.RescaleSlope) for one in slices}) == SLICES
    site.put(*slices)
    site.work()
    files = []
    for number, one in enumerate(slices):
        files.append(tmp_path / f"{number}.dcm")
        files[-1].write_bytes(part10(one))
    found = documented(files, SERIES, f"{site.url}/fhir")
    assert found.shape == TRUTH.shape
    assert np.abs(found / TRUTH - 1).max() < 0.02, "the smallest voxels are rounded to whole stored numbers"
    assert np.abs(found - TRUTH).max() < 25.0 / 32000
    assert found.mean() == pytest.approx(TRUTH.mean(), rel=1e-5)


def test_without_a_factor_the_documented_lines_refuse(site: Site, documented: Suv, tmp_path: Path) -> None:
    one = scanned(0, PatientWeight=ABSENT)
    site.put(one)
    site.work()
    file = tmp_path / "0.dcm"
    file.write_bytes(part10(one))
    with pytest.raises(ValueError, match="there is no usable weight"):
        documented([file], SERIES, f"{site.url}/fhir")
    weightless = "http://isobridge.org/fhir/CodeSystem/nm-suv-reason|weight"
    answer = site.get("/fhir/Observation", params={"code": "suv-scale-factor", "component-value-concept": weightless})
    assert answer.json()["total"] == 1
    study = site.get("/fhir/ImagingStudy").json()
    assert study["total"] == 1, "the study is published without a factor"


def test_the_factor_leads_to_its_study_and_can_be_searched_by_value(site: Site) -> None:
    site.put(*(scanned(number) for number in range(SLICES)))
    site.work()
    found = observation(site)
    study = f"ImagingStudy/{site.get('/fhir/ImagingStudy').json()['entry'][0]['resource']['id']}"
    assert found["derivedFrom"] == found["partOf"] == [{"reference": study}]
    assert found["status"] == "preliminary"
    assert {tag["code"] for tag in found["meta"]["tag"]} == {"derived"}
    for query in ({"part-of": study}, {"derived-from": study}, {"value-quantity": "3.129936e-4||g/Bq"}):
        total = site.get("/fhir/Observation", params={"code": "suv-scale-factor", **query}).json()["total"]
        assert total == 1, query


def test_one_by_one_backwards_or_all_at_once_ends_in_the_same_bytes(tmp_path: Path) -> None:
    ends = []
    made = [scanned(number, AcquisitionTime=f"1100{number:02}", ActualFrameDuration="60000") for number in range(3)]
    for number, order in enumerate((made, made[::-1])):
        running = Site(tmp_path / str(number))
        for one in order:
            running.put(one)
            if number % 2:
                running.work()  # each slice is a version of its own; else all come before it is quiet
        running.put(order[0])
        running.work()
        told = observation(running)
        ends.append(
            {name: value for name, value in told.items() if name not in ("id", "meta", "subject", "partOf", "derivedFrom")}
        )
        running.close()
    assert all(end == ends[0] for end in ends)


def test_a_late_slice_that_was_acquired_earlier_changes_the_factor_in_place(site: Site) -> None:
    site.put(scanned(1, AcquisitionTime="110500", FrameReferenceTime=ABSENT))
    site.work()
    before = observation(site)
    assert before["valueQuantity"]["code"] == "g/Bq"
    site.put(scanned(0, AcquisitionTime="105500", FrameReferenceTime=ABSENT))
    site.work()
    after = observation(site)
    assert after["id"] == before["id"]
    assert "valueQuantity" not in after, "SeriesTime lies after the first acquisition, so nobody knows the moment of reference"
    assert {coding["code"] for coding in after["dataAbsentReason"]["coding"]} == {"unknown", "decay"}


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    running = Site(tmp_path / "off", derive=Derive(suv_factor=False))
    running.put(scanned(0))
    running.work()
    assert running.get("/fhir/Observation", params={"code": "suv-scale-factor"}).json()["total"] == 0
    assert running.get("/fhir/ImagingStudy").json()["total"] == 1
    running.close()
