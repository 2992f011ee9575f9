"""Dose maps: names of regions that come before or after, links that are certain or missing, numbers that are no absorbed dose."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydicom.dataset import Dataset

from gateway.dicom.reading import header_of, read_header
from gateway.gather.dossier import gather_dossier
from gateway.mapping.language import Mappings, load
from gateway.model import DoseResult, Dossier, SharedFields
from gateway.normalise.record import SharedCache, SiteContext, normalise
from tests.builders import ABSENT, histogram, part10, pet, rt_dose, structure_set, uid

SHIPPED = Path(__file__).resolve().parents[2] / "mappings"
REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
NUMBERS = {"organ-absorbed-dose", "dose-volume-histogram"}


@cache
def mappings() -> Mappings:
    return load(SHIPPED)


def read(header: Any) -> SharedFields:
    record = normalise(header, mappings().for_header(header), SiteContext(timezone=ZoneInfo("Europe/Brussels")), SharedCache(8))
    return record.shared


def shared(*objects: Dataset) -> list[SharedFields]:
    return [read(header_of(part10(one))) for one in objects]


def dossier(records: Iterable[SharedFields], known: dict[str, str] | None = None) -> Dossier:
    return gather_dossier("P", list(records), known={}, mint=lambda alias: f"id of {alias}", known_results=known)


def numbers(found: Dossier) -> list[DoseResult]:
    return [item for item in found.results if item.kind in NUMBERS]


def means(found: Dossier) -> dict[str, Any]:
    told = [item.fields for item in found.results if (item.fields.get("statistic") or {}).get("text") == "Mean"]
    return {str((one.get("region") or {}).get("text")): one["value"] for one in told}


def test_histograms_carry_the_names_and_sides_of_the_structure_set() -> None:
    found = dossier(shared(pet(), rt_dose(), structure_set()))
    assert len(found.administrations) == 1
    assert {item.administration for item in found.results} == {found.administrations[0].key}
    assert means(found) == {
        "Left kidney": {"value": Decimal("4.35564"), "unit": "Gy"},
        "VOI 7 (invented)": {"value": Decimal("0.52"), "unit": "Gy"},
    }
    kidney = next(item.fields for item in found.results if (item.fields.get("region") or {}).get("code") == "64033007")
    assert kidney["laterality"]["code"] == "7771000"
    assert all(item.status == "preliminary" for item in found.results)


def test_a_name_that_comes_later_keeps_the_id_of_the_number() -> None:
    first = dossier(shared(pet(), rt_dose()))
    assert set(means(first)) == {"None"}
    before = {item.key for item in numbers(first)}
    assert len(before) == 8
    later = dossier(shared(pet(), rt_dose(), structure_set()), known=first.minted_results)
    assert {item.key for item in numbers(later)} == before
    assert not later.replaced_results
    assert len(means(later)) == 2


def test_any_order_of_records_gives_the_same_dossier() -> None:
    records = shared(pet(), rt_dose(), structure_set())
    ends = [dossier(order) for order in itertools.permutations(records)]
    assert all(end == ends[0] for end in ends)


def test_structure_sets_that_name_a_number_differently_name_nothing() -> None:
    other = structure_set(SeriesInstanceUID=uid("other"), **{"StructureSetROISequence[0].ROIName": "Liver"})
    assert set(means(dossier(shared(pet(), rt_dose(), structure_set(), other)))) == {"None", "VOI 7 (invented)"}


def test_without_an_administration_no_number_of_a_map_is_published() -> None:
    found = dossier(shared(rt_dose(), structure_set()))
    assert numbers(found) == []
    assert [item.kind for item in found.results] == ["dose-grid"]
    [document] = found.documents
    assert any("may be of external beams" in issue.reason for issue in document.issues)


def test_a_map_in_a_study_of_its_own_is_linked_by_its_frame_of_reference() -> None:
    apart = rt_dose(StudyInstanceUID=uid("planning"))
    scan = pet(FrameOfReferenceUID=uid("frame"))
    assert numbers(dossier(shared(scan, apart, structure_set())))
    elsewhere = pet(FrameOfReferenceUID=uid("another frame"))
    assert numbers(dossier(shared(elsewhere, apart, structure_set()))) == []


def test_of_two_administrations_of_a_study_the_frame_of_reference_decides_or_nobody() -> None:
    event = "RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalAdministrationEventUID"
    one = pet(FrameOfReferenceUID=uid("frame"), **{event: uid("first")})
    two = pet(SeriesInstanceUID=uid("second"), FrameOfReferenceUID=uid("frame 2"), **{event: uid("second injection")})
    found = dossier(shared(one, two, rt_dose()))
    assert len(found.administrations) == 2
    [linked] = {item.administration for item in numbers(found)}
    assert linked == next(item.key for item in found.administrations if uid("first") in item.event_uids)
    same_frame = pet(SeriesInstanceUID=uid("second"), FrameOfReferenceUID=uid("frame"), **{event: uid("second injection")})
    assert numbers(dossier(shared(one, same_frame, rt_dose()))) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"DVHSequence[0].DoseType": "EFFECTIVE", "DVHSequence[1].DoseType": "ERROR"},
        {"DVHSequence[0].DoseUnits": "RELATIVE", "DVHSequence[1].DoseUnits": ABSENT},
        {"DoseComment": "dose rate at 24 h"},
        {"SeriesDescription": "Map in mGy/h"},
        {"DVHSequence[0].DVHReferencedROISequence": ABSENT, "DVHSequence[1].DVHReferencedROISequence": ABSENT},
        {
            "DVHSequence[0].DVHReferencedROISequence[0].DVHROIContributionType": "EXCLUDED",
            "DVHSequence[1].DVHReferencedROISequence[0].DVHROIContributionType": "EXCLUDED",
        },
        {"DVHSequence": ABSENT},
    ],
)
def test_what_is_no_absorbed_dose_of_one_region_gives_no_number(changes: dict[str, Any]) -> None:
    found = dossier(shared(pet(), rt_dose(**changes)))
    assert numbers(found) == []
    assert [item.kind for item in found.results if item.kind != "patient-characteristic"] == ["dose-grid"]


def test_a_region_made_of_two_is_left_out_and_the_others_stay() -> None:
    joined = histogram(1, mean="3", volume="10")
    joined["DVHReferencedROISequence"].append({"DVHROIContributionType": "INCLUDED", "ReferencedROINumber": "2"})
    dataset = rt_dose()
    dataset.DVHSequence = [*dataset.DVHSequence, rt_dose(DVHSequence=[joined]).DVHSequence[0]]
    assert len(numbers(dossier(shared(pet(), dataset)))) == 8


def test_doses_keep_the_decimals_of_the_object() -> None:
    found = dossier(shared(pet(), rt_dose(**{"DVHSequence[0].DVHMeanDose": "4.3556400"})))
    assert Decimal("4.35564") in {item.fields["value"]["value"] for item in numbers(found) if "value" in item.fields}


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real dose maps of the shared data")
def test_real_maps_of_external_beams_give_their_grid_and_no_number() -> None:
    files = [
        *REAL.glob("rt/rtkit-phantom-case/R*.dcm"),
        REAL / "rt" / "pydicom_rtdose.dcm",
        REAL / "odd" / "rtdose_rle_1frame.dcm",
    ]
    found = dossier(read(read_header(path)) for path in files)
    grids = [item for item in found.results if item.kind == "dose-grid"]
    assert len(grids) >= 5
    assert {item.fields["grid"]["units"] for item in grids} == {"GY", "RELATIVE"}
    assert numbers(found) == []
