"""Dose and measurement reports of real systems: totals and events as an independent walk of the tree finds them, whatever the unit and
the age of the codes; every content item is read, left on purpose, or named as unknown."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sr._snomed_dict import mapping as snomed
from pydicom.uid import UID

from gateway.dicom.reading import header_of, read_header
from gateway.gather.dossier import gather_dossier
from gateway.mapping.language import load
from gateway.model import JsonObject, Record, SharedFields
from gateway.normalise.record import SharedCache, normalise
from gateway.nuclear.units import convert, spelled
from gateway.workbench.coverage import coverage
from tests.builders import rrdsr, write
from tests.builders_sr import written
from tests.conftest import data_directory
from tests.unit.mapping_files import SHIPPED, SITE

MAPPINGS = load(SHIPPED)
RDSR = data_directory() / "rdsr"
CT = (
    "CT-RDSR-GEPixelMed",
    "CT-RDSR-Philips_BigBore4DCT",
    "CT-RDSR-Siemens-Continued-1",
    "CT-RDSR-Siemens-Continued-2",
    "CT-RDSR-Siemens_Flash-TAP-SS",
    "CT-RDSR-SpectrumDynamics",
    "CT-RDSR-Toshiba_DoseCheck",
    "NM-CT-RDSR-Siemens",
)
PROJECTION = ("DX-RDSR-Canon_CXDI_noDAP", "MG-RDSR-GEPristina-DBT", "RF-RDSR-Philips_Allura", "RF-RDSR-Siemens-Zee")
#: Concept -> dimensionless name; what TID 10002 and 10004-10007 add up, in the unit that is published.
TOTALS = {
    "113722": "Gy.m2", "113725": "Gy", "113726": "Gy.m2", "113728": "Gy", "113730": "s",
    "113727": "Gy.m2", "113729": "Gy", "113855": "s", "113731": "1", "111637": "Gy",
}  # fmt: skip
REPORTS = [RDSR / f"{name}.dcm" for name in (*CT, *PROJECTION)]
real = pytest.mark.needs("data")


def read(place: Path | Dataset) -> Record:
    header = read_header(place) if isinstance(place, Path) else header_of(encoded(place))
    return normalise(header, MAPPINGS.for_header(header), SITE, SharedCache())


def encoded(document: Dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, document, enforce_file_format=True)
    return buffer.getvalue()


def shared(place: Path | Dataset) -> SharedFields:
    return read(place).shared


def results(place: Path | Dataset, *kinds: str) -> list[JsonObject]:
    return [one for one in shared(place).results if one["kind"] in kinds]


def code_of(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].get("CodeValue", "")) if item.get("ConceptNameCodeSequence") else ""


def walk(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence") or ():
        yield child
        yield from walk(child)


def below(item: Dataset, *codes: str) -> list[Dataset]:
    """Every item with one of these codes, at any depth."""
    return [one for one in walk(item) if code_of(one) in codes]


def number(item: Dataset) -> tuple[Decimal, str] | None:
    measured = item.get("MeasuredValueSequence") or ()
    if not measured:
        return None
    return Decimal(str(measured[0].NumericValue)), str(measured[0].MeasurementUnitsCodeSequence[0].CodeValue)


def component(result: JsonObject, code: str) -> JsonObject | None:
    return next((one for one in result["components"] if one["code"].get("code") == code), None)


@real
@pytest.mark.parametrize("name", CT)
def test_a_ct_report_gives_its_total_and_every_event(name: str) -> None:
    document = pydicom.dcmread(RDSR / f"{name}.dcm")
    totals = [number(item) for item in below(document, "113813")]
    (total,) = results(RDSR / f"{name}.dcm", "ct-dose")
    assert [(total["value"]["value"], total["value"]["unit"])] == [(value, "mGy.cm") for value, _ in filter(None, totals)]
    events = below(document, "113819")
    told = results(RDSR / f"{name}.dcm", "ct-event")
    assert len(told) == len(events) == int(next(filter(None, map(number, below(document, "113812"))))[0])
    for event, result in zip(events, told, strict=True):
        assert result["event_uid"] == below(event, "113769")[0].UID
        for code, unit in (("113830", "mGy"), ("113838", "mGy.cm")):
            wanted = next((found for item in below(event, code) if (found := number(item))), None)
            part = component(result, code)
            assert (part["value"] if part else None) == ({"value": wanted[0], "unit": unit} if wanted else None)
        phantom = below(event, "113835")
        assert (component(result, "113835") is not None) == bool(phantom)


@real
@pytest.mark.parametrize("name", PROJECTION)
def test_a_projection_report_gives_what_was_added_up(name: str) -> None:
    document = pydicom.dcmread(RDSR / f"{name}.dcm")
    wanted = []
    for item in below(document, *TOTALS):
        found = number(item)
        if found:
            wanted.append((code_of(item), convert(found[0], found[1], TOTALS[code_of(item)]), TOTALS[code_of(item)]))
    told = results(RDSR / f"{name}.dcm", "xray-dose")
    assert [(one["code"]["code"], one["value"]["value"], one["value"]["unit"]) for one in told if "value" in one] == wanted
    assert wanted


@real
def test_a_report_that_continues_another_keeps_both_totals_and_all_events() -> None:
    first, second = (RDSR / f"CT-RDSR-Siemens-Continued-{part}.dcm" for part in (1, 2))
    uids = [one["event_uid"] for path in (first, second) for one in results(path, "ct-event")]
    assert len(uids) == len(set(uids)) == 4
    assert [results(path, "ct-dose")[0]["value"]["value"] for path in (first, second)] == [Decimal("60.17"), Decimal("56.44")]


@real
def test_an_xray_dose_report_in_enhanced_sr_is_read_as_one() -> None:
    path = data_directory() / "sr" / "CT-ESR-GE_Optima.dcm"
    (total,) = results(path, "ct-dose")
    assert total["value"] == {"value": Decimal("415.82"), "unit": "mGy.cm"}
    assert len(results(path, "ct-event")) == 6


@real
def test_every_number_of_a_measurement_group_becomes_a_fact() -> None:
    path = data_directory() / "sr" / "dcmqi-pet-sr-example" / "sr.dcm"
    groups = below(pydicom.dcmread(path), "125007")
    wanted = [
        (str(item.ConceptNameCodeSequence[0].CodeMeaning), number(item)) for group in groups for item in group.ContentSequence
    ]
    told = results(path, "measurement")
    assert [(one["code"]["text"], one["value"]["value"]) for one in told] == [
        (meaning, found[0]) for meaning, found in wanted if found
    ]
    peak = next(one for one in told if one.get("statistic", {}).get("code") == "126031")
    assert peak["value"] == {"value": Decimal("9.45534"), "unit": "g/mL{SUVbw}"}
    assert peak["segment"]["number"] == 1
    assert peak["lesion"]["tracking_id"] == "primary tumor"
    assert peak["method"]["code"] == "126410"
    assert {one["code"]["code"] for one in peak["components"] if "code" in one["code"]} >= {"126100", "121232"}


@real
def test_measurements_in_words_and_without_number() -> None:
    told = results(data_directory() / "sr" / "highdicom_sr_document_with_multiple_groups.dcm", "measurement")
    assert [(one["code"]["text"], one.get("value", {}).get("unit"), one.get("concept", {}).get("code")) for one in told] == [
        ("Intensity Histogram Mean", "[hnsf'U]", None),
        ("Diameter", "mm", None),
        ("Diameter", "mm", None),
        ("Volume", "mL", None),
        ("Anatomical position (finding)", None, "243911007"),
        ("Level of Significance", None, "371928007"),
    ]
    assert told[1]["region"]["code"] == "39607008"
    assert told[3]["value"]["value"] == Decimal("0.2")
    assert "region" not in told[2], "the site of one group is not that of another"


@real
@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_nothing_in_a_dose_report_is_unknown(path: Path) -> None:
    found = coverage([path], MAPPINGS)
    assert [one.path for one in found.unread if one.vr == "SR"] == []
    (tree,) = found.trees.values()
    assert tree.unknown == 0
    assert tree.read + tree.ignored == sum(1 for _ in walk(pydicom.dcmread(path)))
    assert all(one.reason for one in found.ignored)


@real
def test_nothing_in_the_real_administration_report_is_unknown() -> None:
    path = data_directory() / "rrdsr" / "NM-RRDSR-Siemens.dcm"
    (tree,) = coverage([path], MAPPINGS).trees.values()
    assert (tree.unknown, tree.read + tree.ignored) == (0, sum(1 for _ in walk(pydicom.dcmread(path))))


def test_an_item_that_nobody_knows_is_named(tmp_path: Path) -> None:
    report = rrdsr()
    extra = copy.deepcopy(report.ContentSequence[-1])
    extra.ConceptNameCodeSequence[0].CodeValue, extra.ConceptNameCodeSequence[0].CodingSchemeDesignator = "X1", "99OURS"
    report.ContentSequence.append(extra)
    found = coverage([write(report, tmp_path / "sr.dcm")], MAPPINGS)
    assert any(one.path.startswith("X1 99OURS") for one in found.unread)
    assert sum(tree.unknown for tree in found.trees.values()) > 0


#: Unit -> others of the same quantity.
LEGAL = {
    "MBq": ("Bq", "kBq", "GBq", "mCi"),
    "mGy": ("Gy", "cGy", "uGy"),
    "Gy": ("mGy", "cGy"),
    "mSv": ("Sv", "uSv"),
    "mGy.cm": ("Gy.cm", "mGycm"),
    "Gy.m2": ("uGy.m2", "cGy.cm2", "dGycm2"),
    "s": ("min", "h", "ms"),
    "min": ("s", "h"),
    "h": ("s", "min"),
    "g": ("kg", "mg"),
    "cm3": ("mL", "mm3"),
    "mL": ("L", "cm3"),
    "mm": ("cm", "m"),
    "kV": ("V",),
    "mA": ("A",),
    "kg": ("g",),
    "m": ("cm",),
    "cm": ("m",),
}


#: Single exposures of projection X-ray are not read; what stands in them need not be tried.
NOT_READ = "113706"


def numbers(document: Dataset) -> list[Dataset]:
    """The first item with a number for each concept and unit."""
    found: dict[tuple[str, str], Dataset] = {}

    def collect(item: Dataset) -> None:
        for child in item.get("ContentSequence") or ():
            told = number(child)
            if told:
                found.setdefault((code_of(child), told[1]), child)
            if code_of(child) != NOT_READ:
                collect(child)

    collect(document)
    return list(found.values())


def facts(told: SharedFields) -> list[JsonObject]:
    """What is published: without the source's own words for it, and with numbers told to the digit that both writings carry."""

    def plain(tree: object, name: str = "") -> object:
        if isinstance(tree, dict):
            return {key: plain(value, key) for key, value in tree.items() if not key.endswith("stated")}
        if isinstance(tree, list | tuple):
            return [plain(one) for one in tree]
        return f"{Decimal(tree):.8e}" if isinstance(tree, Decimal) else tree

    return [plain(one) for one in (*told.administrations, *told.results)]  # type: ignore[misc]


MUTATED = [
    data_directory() / "rrdsr" / "NM-RRDSR-Siemens.dcm",
    RDSR / "NM-CT-RDSR-Siemens.dcm",
    RDSR / "MG-RDSR-GEPristina-DBT.dcm",
    RDSR / "RF-RDSR-Siemens-Zee.dcm",
]


@real
@pytest.mark.parametrize("path", MUTATED, ids=lambda path: path.stem)
def test_a_quantity_in_another_legal_unit_is_the_same_fact(path: Path) -> None:
    document, count = pydicom.dcmread(path), 0
    wanted = facts(shared(path))
    for item in numbers(document):
        value, unit = number(item) or (Decimal(), "")
        for other in LEGAL.get(spelled(unit), ()):
            text = f"{convert(value, unit, other):.9E}"
            with written(item, text, other):
                assert facts(shared(document)) == wanted, f"{code_of(item)} in {other}"
            count += 1
    assert count >= 3


@real
@pytest.mark.parametrize("path", MUTATED, ids=lambda path: path.stem)
def test_a_quantity_in_an_illegal_unit_is_told_and_has_no_number(path: Path) -> None:
    document, tried = pydicom.dcmread(path), 0
    before = shared(path)
    for item in numbers(document):
        _, unit = number(item) or (Decimal(), "")
        with written(item, "98765.25", unit):
            published = facts(shared(document)) != facts(before)
        with written(item, "98765.25", "furlong"):
            after = shared(document)
        assert "9.87652" not in str(facts(after)), code_of(item)
        if published:
            assert len(after.issues) > len(before.issues), code_of(item)
            tried += 1
    assert tried


def retired(document: Dataset) -> Dataset:
    """The same document with today's SNOMED CT codes instead of the retired ones."""
    made = copy.deepcopy(document)

    def change(item: Dataset) -> None:
        for element in item:
            if element.VR == "SQ":
                for inner in element.value:
                    change(inner)
        if item.get("CodingSchemeDesignator") == "SRT" and item.get("CodeValue") in snomed["SRT"]:
            item.CodeValue, item.CodingSchemeDesignator = snomed["SRT"][item.CodeValue], "SCT"

    change(made)
    return made


@real
@pytest.mark.parametrize(
    "path",
    [*REPORTS, data_directory() / "rrdsr" / "NM-RRDSR-Siemens.dcm", data_directory() / "sr" / "dcmqi-pet-sr-example" / "sr.dcm"],
    ids=lambda path: path.stem,
)
def test_the_age_of_the_snomed_codes_makes_no_difference(path: Path) -> None:
    document = pydicom.dcmread(path)
    twin = retired(document)
    assert twin != document
    assert facts(shared(twin)) == facts(shared(path))


def sent_again(path: Path, uid: str) -> SharedFields:
    """The same report under another SOP Instance UID: what a scanner sends after every event, all events in it."""
    document = pydicom.dcmread(path)
    document.SOPInstanceUID = document.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    return shared(document)


@real
def test_an_irradiation_event_is_one_fact_in_all_its_documents_and_totals_stay_apart() -> None:
    path = RDSR / "NM-CT-RDSR-Siemens.dcm"
    told = [shared(path), sent_again(path, "2.25.991")]
    for records in (told, told[::-1]):
        dossier = gather_dossier("P", records, known={}, mint=lambda name: name)
        kinds = [one.kind for one in dossier.results]
        assert (kinds.count("ct-event"), kinds.count("ct-dose")) == (2, 2)
        assert {one.status for one in dossier.results} == {"preliminary"}
        assert all(one.administration is None for one in dossier.results)
