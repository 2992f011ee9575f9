"""A record says what was read, from where, with which doubts; and reading slices of one series fast changes nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dicom.headers import DatasetHeader
from gateway.dicom.paths import parse_path, vr_of
from gateway.dicom.reading import Header, header_of, read_header
from gateway.errors import GatewayError, Quarantined
from gateway.mapping.example import encode, merged
from gateway.mapping.language import load
from gateway.mapping.rules import ItemPath, MappingTest, RootPath
from gateway.model import Record, Severity
from gateway.normalise.record import SharedCache, SiteContext, normalise
from gateway.workbench.selftest import run_test
from tests.conftest import data_directory
from tests.unit.mapping_files import SHIPPED, SITE, directory, read, said

MAPPINGS = load(SHIPPED)
PET = MAPPINGS.named("pet_image")
ITEM = "RadiopharmaceuticalInformationSequence[0]"


def header(**given: Any) -> Header:
    return header_of(encode(merged(PET.example, given)))


class CountingCache(SharedCache):
    """Tells how often the shared fields were read anew."""

    def __init__(self, size: int = 256) -> None:
        super().__init__(size)
        self.misses = 0

    def put(self, key: Any, shared: Any) -> None:
        self.misses += 1
        super().put(key, shared)


def test_the_slices_of_a_series_share_one_reading() -> None:
    cache = CountingCache()
    records = [normalise(header(SOPInstanceUID=f"1.2.{n}", InstanceNumber=str(n)), PET, SITE, cache) for n in range(1, 20)]
    assert cache.misses == 1
    assert len({record.shared.key for record in records}) == 1
    assert [record.instance["number"] for record in records] == list(range(1, 20))


@pytest.mark.parametrize(
    "change",
    [
        {"PatientName": "Other^Name"},
        {"StudyDescription": "x"},
        {"SpecificCharacterSet": "ISO_IR 100"},  # the same bytes would mean other letters
        {"TimezoneOffsetFromUTC": "+0100"},  # the same times would mean other instants
        {f"{ITEM}.RadionuclideTotalDose": "370000001"},  # deep inside a sequence
        {f"{ITEM}.RadiopharmaceuticalCodeSequence[0].CodeMeaning": "FDG"},
        {"AcquisitionDate": "20240512"},
        {"Units": "GML"},
    ],
)
def test_whatever_decides_a_shared_field_makes_a_new_reading(change: dict[str, Any]) -> None:
    cache = CountingCache()
    normalise(header(), PET, SITE, cache)
    cached = normalise(header(**change), PET, SITE, cache)
    assert cache.misses == 2
    assert cached == normalise(header(**change), PET, SITE, SharedCache(1))


def test_another_site_zone_or_mapping_makes_a_new_reading() -> None:
    cache = CountingCache()
    first = normalise(header(), PET, SITE, cache)
    second = normalise(header(), PET, SiteContext(timezone=ZoneInfo("America/New_York")), cache)
    third = normalise(header(), MAPPINGS.named("image"), SITE, cache)
    assert cache.misses == 3
    assert first.shared.study["started"] != second.shared.study["started"]
    assert third.shared.administrations == ()


def test_the_memory_of_series_is_bounded() -> None:
    cache = CountingCache(size=2)
    for name in ("A", "B", "C", "A"):
        normalise(header(StudyDescription=name), PET, SITE, cache)
    assert cache.misses == 4


def test_equal_content_has_an_equal_key_whoever_sent_it() -> None:
    again = header(Manufacturer=None, StudyComments="not read by any field")
    assert normalise(again, PET, SITE, SharedCache(1)).shared.key == normalise(header(), PET, SITE, SharedCache(1)).shared.key


def test_the_spelling_of_a_number_does_not_change_the_record() -> None:
    spelled = header(**{f"{ITEM}.RadionuclideTotalDose": "3.70E8"})
    assert normalise(spelled, PET, SITE, SharedCache(1)) == normalise(header(), PET, SITE, SharedCache(1))


def test_a_must_that_fails_quarantines_with_every_reason() -> None:
    with pytest.raises(Quarantined) as caught:
        read(PET, {"StudyInstanceUID": None, "SOPInstanceUID": "x.y"})
    assert caught.value.reason == "study.uid is missing; instance.uid is not a UID."


def test_no_reason_and_no_issue_repeats_what_the_patient_elements_hold() -> None:
    given = {"PatientName": "SECRET^NAME\x1b$)Cxx", "PatientID": "SECRET", "PatientBirthDate": "SECRET", "PatientSex": "SECRET"}
    assert not [text for text in said(read(PET, given)) if "SECRET" in text]


def test_a_broken_tracer_sequence_is_an_issue_not_a_crash() -> None:
    content = encode(merged(PET.example, {})).replace(b"\xfe\xff\x00\xe0", b"\xfe\xff\x00\xe1", 1)
    try:
        record = normalise(header_of(content), PET, SITE, SharedCache(1))
    except GatewayError:
        return  # the walker refused it first
    assert record.shared.administrations == ()


NASTY = ["-1", "0", "1E30", "1E33", ".5", "a  b", "é", "\x07", "^", "==", "\\", "1\\2", "00000000", "240000", "235960", "20240331023000",
         "99991231235959", "00010101000000-1200", "2024", "F", "+1400", "+9999", "ISO_IR 192", "ISO 2022 IR 87", "GB18030", "SRT", "99X",
         "C-B1031", "FDG", "18F", "MIBG", "1.2.03", "9.9", "${patient.id}", "x" * 70, "\u2028"]  # fmt: skip
READ = sorted(
    {source.path.text for rule in PET.fields for part in rule.sources.values() for source in part if isinstance(source, RootPath)}
    | {
        f"{ITEM}.{source.path.text}"
        for rule in PET.fields
        for part in rule.sources.values()
        for source in part
        if isinstance(source, ItemPath)
    }
    | {"TimezoneOffsetFromUTC", "SpecificCharacterSet"}
)
PLACES = [
    place
    for path in READ
    if path not in ("IssuerOfPatientID", "SOPClassUID")  # rendering makes a system of the one, the other chooses the mapping
    and not path.startswith("IssuerOfAccessionNumberSequence")  # rendering makes a system of it as well
    and vr_of(parse_path(path.rpartition(".")[2]).steps[-1].tag) not in ("US", "SS", "UL", "SL", "FL", "FD")  # no text fits there
    for place in (
        [f"{path.removesuffix('[0]')}[0].{keyword}" for keyword in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")]
        if path.removesuffix("[0]").endswith("Sequence")
        else [path]
    )
]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(PLACES), st.sampled_from(NASTY), min_size=1, max_size=5))
def test_whatever_elements_hold_the_fhir_is_valid_or_the_object_is_quarantined(changes: dict[str, str]) -> None:
    test = MappingTest(name="nasty", given=changes, expect={}, where="")
    reasons = run_test(PET, test, MAPPINGS).reasons
    assert all(reason.startswith("was quarantined") for reason in reasons), reasons


def test_issues_of_several_items_say_which() -> None:
    record = read(PET, {"RadiopharmaceuticalInformationSequence[1].RadionuclideTotalDose": "370 MBq"})
    assert "administration[1].activity is not a number" in said(record)
    assert record.shared.sources["administration[0].activity"] == "RadionuclideTotalDose"


def test_a_warning_is_published_and_an_error_is_withheld() -> None:
    record = read(PET, {f"{ITEM}.RadionuclideTotalDose": "10", f"{ITEM}.RadiopharmaceuticalCodeSequence": None})
    severities = {issue.field: issue.severity for issue in record.shared.issues}
    assert severities["administration.activity"] is Severity.ERROR
    assert severities["administration.agent"] is Severity.WARNING


def test_a_private_element_counts_for_the_shared_reading(tmp_path: Path) -> None:
    text = "match: everything\nfields:\n  series.factor: {from: '(7053,xx00)[Philips PET Private Group]', as: decimal}\n"
    mapping = load(directory(tmp_path, one=text)).named("one")
    cache = CountingCache()
    for value in ("0.5", "0.25", "0.5"):
        tree = {"SOPInstanceUID": "1", "(7053,xx00)[Philips PET Private Group]": value}
        record = normalise(header_of(encode(tree)), mapping, SITE, cache)
        assert str(record.shared.series["factor"]) == value
    assert cache.misses == 2


def test_a_pydicom_data_set_can_stand_in_for_a_file() -> None:
    plain = DatasetHeader(header().dataset)
    assert normalise(plain, PET, SITE, SharedCache(1)) == normalise(header(), PET, SITE, SharedCache(1))


def record_of(name: str) -> Record:
    opened = read_header(data_directory() / name)
    return normalise(opened, MAPPINGS.for_header(opened), SITE, SharedCache(1))


@pytest.mark.needs("data")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "pet/siemens-vision600-fdg-study/NM-PetIm-Siemens-3.dcm",
            {
                "activity": "394",
                "agent": "35321007",
                "radionuclide": "F-18",
                "half_life": "6586.2",
                "started_at": "2022-02-24T10:48:30+01:00",
            },
        ),
        (  # the start date-time says 29 January, the series the 28th
            "pet/ge/STS_002-mini-petct/PET/000024.dcm",
            {
                "activity": "433.344096",
                "agent": "35321007",
                "radionuclide": "F-18",
                "half_life": "6588",
                "started_at": "2006-01-28T13:51:00+01:00",
            },
        ),
        (  # a vendor's own agent code, a time without date
            "pet/ge/STS_001-raw/STS_001_PET_1-100.dcm",
            {
                "activity": "388.777472",
                "agent": "35321007",
                "radionuclide": "F-18",
                "half_life": "6588",
                "started_at": "2000-09-07T10:35:00+02:00",
            },
        ),
        (  # a phantom
            "pet/siemens-quadra-ge68/quadra_pet_uncorrected_header-real_pixels-blank.dcm",
            {
                "activity": "85.74",
                "agent": "53315004",
                "radionuclide": "Ge-68",
                "half_life": "23410100",
                "started_at": "2023-08-25T14:49:42+02:00",
            },
        ),
        (  # de-identified: no agent
            "pet/siemens-mct-flt/ACRIN-FLT-Breast_1.dcm",
            {
                "activity": "178.34001159668",
                "agent": None,
                "radionuclide": "F-18",
                "half_life": "6586.2",
                "started_at": "1960-06-14T14:17:00+01:00",
            },
        ),
    ],
)
def test_a_real_scan_gives_its_administration(name: str, expected: dict[str, str | None]) -> None:
    (found,) = record_of(name).shared.administrations
    assert {
        "activity": str(found["activity"]["value"]),
        "agent": found.get("agent", {}).get("code"),
        "radionuclide": found["radionuclide"]["text"],
        "half_life": str(found["half_life"]["value"]),
        "started_at": found["started_at"],
    } == expected


@pytest.mark.needs("data")
def test_a_wrong_day_in_a_real_scan_is_flagged() -> None:
    record = record_of("pet/ge/STS_002-mini-petct/PET/000024.dcm")
    assert record.shared.administrations[0]["started_at_repaired"] is True
    assert any("date that does not fit the scan" in text for text in said(record))


def _files() -> Iterator[Path]:
    for folder in ("pet", "ct", "nm", "rt", "sr", "seg", "sc", "rdsr", "rrdsr", "odd"):
        yield from sorted(path for path in (data_directory() / folder).rglob("*") if path.is_file())


@pytest.mark.needs("data")
def test_no_real_or_odd_file_crashes_anything() -> None:
    understood = 0
    for path in _files():
        try:
            opened = read_header(path)
            normalise(opened, MAPPINGS.for_header(opened), SITE, SharedCache(1))
        except GatewayError:
            continue
        understood += 1
    assert understood > 100


@pytest.mark.needs("data")
@pytest.mark.parametrize(
    ("name", "family", "text"),
    [
        ("chrFren", "Buc", "Jérôme Buc"),
        ("chrGerm", "Äneas", "Rüdiger Äneas"),
        ("chrX1", "Wang", "XiaoDong Wang"),
        ("chrI2", "Hong", "Gildong Hong"),
        ("chrH32", "ﾔﾏﾀﾞ", "ﾀﾛｳ ﾔﾏﾀﾞ"),
    ],
)
def test_names_in_every_character_set_are_read(name: str, family: str, text: str) -> None:
    found = record_of(f"odd/charset/{name}.dcm").shared.patient["name"]
    assert (found["family"], found["text"]) == (family, text)
