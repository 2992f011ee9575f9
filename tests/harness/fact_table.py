"""Every fact of structured reports, and where it stands in FHIR, as Markdown: for a person who wants to see that nothing was lost.

    python -m tests.harness.fact_table STUDY_FOLDER_OR_FILE ... > facts.md

Where a fact stands is tried, not guessed by its words: each content item in turn is written with another value, the study goes through
reading, gathering and rendering again, and the elements of FHIR that now tell the new value are where it stands. All files are taken as
one patient's, as after ``isobridge study accept``. Whatever reaches no element says why, or the table has an open row.
"""

from __future__ import annotations

import copy
import io
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from gateway.config import Settings
from gateway.dicom.items import Root
from gateway.dicom.reading import header_of, read_header
from gateway.errors import Quarantined
from gateway.fhir.identity import Identity
from gateway.fhir.render import Renderer
from gateway.gather.patient import PatientKeys
from gateway.gather.study import Member, gather_study
from gateway.mapping.language import load
from gateway.model import JsonObject, Record
from gateway.normalise.record import SiteContext
from gateway.nuclear.units import convert, spelled
from gateway.r4.bundles import resources_of
from gateway.understanding import Understanding
from gateway.workbench.coverage import content_items, coverage, judged
from gateway.workbench.explain import explain
from gateway.workbench.explanation import INDEX, value_text
from gateway.workbench.folders import files_in
from gateway.workbench.origins import Origins
from gateway.workbench.walk import reads_of

MAPPINGS = Path(__file__).resolve().parents[2] / "mappings"
RECORDED = "2026-03-02T12:00:00.000+00:00"
OPEN = "not in FHIR, no reason"
_MARK = "zzMARKzz"
_MARK_UID = "2.25.98765432123456789"
#: Text-like value types and the attribute that holds the value (PS3.3 table C.17.3-1).
_PLAIN = {"TEXT": "TextValue", "UIDREF": "UID", "PNAME": "PersonName", "DATETIME": "DateTime"}
#: Steps that only say how a value is written; the element above them is where it stands.
_WRITING = ("value", "text", "code", "system", "coding", "unit", "display", "family", "start", "end")
#: What is read and reaches no element, though another value would: concept -> why.
_ON_PURPOSE = {
    "123004": "the same instant as the start, so no end is told; another one would be the end of the Period",
    "113870": "'Unknown' names nobody; a name would be a Practitioner",
    "113875": "the role of a person without a name; with one it is the performer's function",
}
#: Fields of headers that fill no element by themselves, by name or level -> why.
_FIELDS = {
    "study.id": "no identifier: neither unique nor global; the study is known by its UID",
    "series.body_part": "no body part that a code table knows: words alone say nothing to a search",
    "series.pet": "how the images were made: decides whether there is a SUV factor; stays in the images",
    **dict.fromkeys(
        ("series.pet.units", "series.pet.patient_weight", "series.pet.patient_size", "series.pet.decay_reference"),
        "input of the factor: `Observation suv-scale-factor.component`",
    ),
    "series.pet.suv_type": "decides the factor: `Observation suv-scale-factor.component`",
    "series.frame_of_reference": "links dose maps to the images of an injection",
    "series.document": "told of the document: DocumentReference.type, status, context",
    "series.dose_report": "told of the document and its facts: DocumentReference.context, Observation.component",
    "instance": "a single image: input of the SUV factor; stays in the image",
    "document.study_uid": "DocumentReference.context.related leads to the ImagingStudy of this UID",
    "document.series_uid": "part of the address of the document; a series of the ImagingStudy",
    "document.template": "which rows to expect: decides nothing that is told",
    "document.completion": "decides status: DocumentReference.docStatus, DiagnosticReport.status, Observation.status",
    "document.verification": "decides status: DocumentReference.docStatus, DiagnosticReport.status, Observation.status",
    "document.software": "of a scanner the Device of the series tells it: Device.manufacturer, Device.version",
    "administration.start_clock": "the time of day as the header writes it; with the day it is the start",
}
#: Elements that no rule reads: how their keywords begin -> why.
_UNREAD = {
    "describes pixels and geometry: for who reads the images": (
        "Rows Columns Bits HighBit Pixel Photometric Samples Window Rescale Slice Image Smallest Largest Position PatientPosition "
        "PatientOrientation PatientGantry AcquisitionNumber"
    ),
    "how the detector counted: stays in the images": "Axial Collimator Energy DecayFactor DoseCalibration ScatterFraction",
    "when the scanner was calibrated: stays in the object": "DateOfLastCalibration TimeOfLastCalibration",
    "a physical constant, not a fact of the patient": "RadiopharmaceuticalInformationSequence.RadionuclidePositronFraction",
    "de-identification: says nothing of the patient": "Deidentification PatientIdentityRemoved",
    "of the order and the procedure step: the hospital's systems know it": (
        "PerformedProcedure RequestAttributes Requested Scheduled ProtocolName"
    ),
    "persons and addresses of the order: not for research": "Institution PhysiciansOfRecord Referring Requesting PerformingPhysician",
    "leads to other objects of the same study": "Referenced Related",
    "what a vendor keeps for itself": "(",
    "how the document is written": "ContentTemplateSequence.MappingResource ContinuityOfContent ValueType ContentDate ContentTime",
    "the same as birth date and study date": "PatientAge",
    "an order's question, not an answer": "PregnancyStatus",
    "the report's content tree, or the images, tell it": "PatientSize PatientWeight",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One content item: by meanings, what it says, in which elements it stands, or why in none."""

    item: str
    says: str
    places: tuple[str, ...]
    why: str


def shipped() -> Understanding:
    """The shipped mappings with default settings and a fixed key."""
    site, mappings = Settings().site, load(MAPPINGS)
    return Understanding(
        mappings=mappings,
        site=SiteContext(timezone=site.zone),
        patients=PatientKeys(system=site.patient_id_system),
        renderer=Renderer(mappings, Identity(b"a key of thirty-two bytes, or so"), accession_system=site.accession_system),
    )


def header_rows(path: Path, understanding: Understanding) -> Iterator[Row]:
    """A row for each field of the header with its value, then for each group of elements that no rule reads."""
    told = explain(path, understanding, Origins(MAPPINGS))
    for field in told.fields:
        used = [origin for origin in field.origins if origin.used]
        from_tree = any(origin.path.startswith(("sr ", "$", "1")) for origin in used)
        if field.name.startswith("results.") or field.value is None or from_tree:
            continue
        places = tuple(sorted({_element(INDEX.sub("", one.element)) for one in field.elements}))
        names = " + ".join(origin.path for origin in used) or field.name
        yield Row(names, value_text(field.value), places, "" if places else _field_reason(field.name))
    groups: dict[str, list[str]] = {}
    for one in coverage([path], understanding.mappings).unread:
        if one.vr != "SR":
            groups.setdefault(_unread_reason(one.path), []).append(one.path)
    for reason, paths in sorted(groups.items()):
        tops = dict.fromkeys(name if name in _UNREAD.get(reason, "").split() else name.partition(".")[0] for name in paths)
        yield Row(", ".join(tops), f"{len(paths)} elements", (), reason)


def _field_reason(name: str) -> str:
    fitting = [known for known in _FIELDS if name == known or name.startswith(f"{known}.")]
    return _FIELDS[max(fitting, key=len)] if fitting else OPEN


def _unread_reason(path: str) -> str:
    return next((reason for reason, starts in _UNREAD.items() if path.startswith(tuple(starts.split()))), OPEN)


class OnePatient:
    """Files that are taken as one patient's, rendered with one of them changed."""

    def __init__(self, paths: Sequence[Path], understanding: Understanding) -> None:
        self.understanding = understanding
        self._records = {path: understanding.read(path) for path in paths}
        self._key = understanding.patients.of(next(iter(self._records.values())).shared)

    def resources(self, path: Path | None = None, changed: Dataset | None = None) -> list[JsonObject]:
        """All resources but Provenance. Raises :class:`~gateway.errors.Quarantined`."""
        records = dict(self._records)
        if path is not None and changed is not None:
            records[path] = self.understanding.understand(header_of(encoded(changed)))
        return [*self._study(records), *self._dossier(records)]

    def _dossier(self, records: dict[Path, Record]) -> list[JsonObject]:
        shared = list({record.shared.key: record.shared for record in records.values()}.values())
        bundle = self.understanding.dossier_bundle(self.understanding.dossier(self._key, shared, {}), shared, recorded=RECORDED)
        return _told(resources_of(bundle.body)) if bundle else []

    def _study(self, records: dict[Path, Record]) -> list[JsonObject]:
        told: list[JsonObject] = []
        for uid in sorted({str(record.shared.study["uid"]) for record in records.values()}):
            members = [
                Member(member_id=number, patient_key=self._key, shared=record.shared, instance=record.instance)
                for number, record in enumerate(records.values())
                if record.shared.study["uid"] == uid
            ]
            shared = [member.shared for member in members]
            bundle = self.understanding.study_bundle(gather_study(uid, members), shared, recorded=RECORDED)
            told += [one for one in _told(resources_of(bundle.body)) if one["resourceType"] != "Patient"]
        return told


def _told(resources: Sequence[JsonObject]) -> list[JsonObject]:
    return [one for one in resources if one["resourceType"] != "Provenance"]


def encoded(document: Dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, document, enforce_file_format=True)
    return buffer.getvalue()


Leaf = tuple[str, str, str]


def leaves(resources: Sequence[JsonObject]) -> Counter[Leaf]:
    """Every value with its element, and its unit where it has one; an Observation is named by its code. No ids of ours."""
    return Counter(leaf for one in resources for leaf in _below(_name(one), one, ""))


def _name(resource: JsonObject) -> str:
    coding: JsonObject = next(iter((resource.get("code") or {}).get("coding", ())), {})
    kind = resource["resourceType"]
    return f"{kind} {coding['code']}" if kind == "Observation" and "code" in coding else str(kind)


def _below(path: str, node: Any, unit: str) -> Iterator[Leaf]:
    if isinstance(node, dict):
        own = str(node["code"]) if "value" in node and "code" in node else unit
        step = _component(path, node)
        for name, child in node.items():
            if name not in ("id", "reference", "meta"):
                yield from _below(f"{step}.{name}", child, own)
    elif isinstance(node, list):
        for child in node:
            yield from _below(path, child, unit)
    else:
        yield path, str(node), unit


def _component(path: str, node: JsonObject) -> str:
    coding = (
        (node.get("code") or {}).get("coding") if isinstance(node.get("code"), dict) and path.endswith(".component") else None
    )
    return f"{path}[{coding[0]['code']}]" if coding and "code" in coding[0] else path


def rows_of(path: Path, patient: OnePatient, *, each_once: bool = False) -> list[Row]:
    """A row for each content item of a report, in its order. With ``each_once`` only the first of one path of concepts is tried."""
    document = pydicom.dcmread(path)
    before = leaves(patient.resources())
    header = read_header(path)
    mapping = patient.understanding.mappings.for_header(header)
    reasons = [reason for _, reason in judged(content_items(Root(header)), mapping, reads_of(mapping))]
    tried: set[str] = set()
    rows = []
    for (item, words), reason in zip(list(walk(document)), reasons, strict=True):
        if not (each_once and words in tried):
            rows.append(_row(item, words, reason, path, document, patient, before))
            tried.add(words)
    return rows


def walk(item: Dataset, names: tuple[str, ...] = ()) -> Iterator[tuple[Dataset, str]]:
    """Every content item with the meanings that lead to it."""
    for child in item.get("ContentSequence") or ():
        concept = child.get("ConceptNameCodeSequence")
        here = (*names, str(concept[0].get("CodeMeaning", "")) if concept else str(child.ValueType))
        yield child, " > ".join(here)
        yield from walk(child, here)


def _row(
    item: Dataset, words: str, reason: str | None, path: Path, document: Dataset, patient: OnePatient, before: Counter[Leaf]
) -> Row:
    says, written = _says(item), _other(item)
    if written is None:
        empty = "names no value" if item.ValueType != "CONTAINER" else "container: it holds the items below it"
        return Row(words, says, (), reason or empty)
    if reason:
        return Row(words, says, (), f"left in the document on purpose: {reason}")
    attribute, value, check = written
    kept = copy.deepcopy(item[attribute].value)
    item[attribute].value = value
    try:
        after = leaves(patient.resources(path, document))
    except Quarantined:
        return Row(words, says, (), "the document is refused when it says something else")
    finally:
        item[attribute].value = kept
    gone, new = before - after, after - before
    places = {leaf[0] for leaf in new if _tells(leaf, check)}
    known = {leaf[0] for leaf in before}
    stands = sorted({_element(place) for place in places & known})
    return Row(words, says, tuple(stands), "" if stands else _why(item, gone, new, reason))


def _why(item: Dataset, gone: Counter[Leaf], new: Counter[Leaf], reason: str | None) -> str:
    concept = item.ConceptNameCodeSequence[0].get("CodeValue", "")
    if concept in _ON_PURPOSE:
        return _ON_PURPOSE[concept]
    changed = sorted({_element(leaf[0]) for leaf in (*gone, *new)})
    if changed:
        return f"decides {', '.join(f'`{one}`' for one in changed[:3])}" + (
            f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        )
    return OPEN if reason is not None else f"{OPEN}, and unknown to the mapping"


def _says(item: Dataset) -> str:
    measured = item.get("MeasuredValueSequence")
    if measured:
        return f"{measured[0].NumericValue} {measured[0].MeasurementUnitsCodeSequence[0].CodeValue}"
    if item.get("ConceptCodeSequence"):
        code = item.ConceptCodeSequence[0]
        return f"{code.get('CodeMeaning', '')} ({code.get('CodeValue', '')} {code.get('CodingSchemeDesignator', '')})"
    attribute = _PLAIN.get(str(item.ValueType))
    return str(item.get(attribute, "")) if attribute else ""


Check = tuple[str, Any]


def _other(item: Dataset) -> tuple[str, Any, Check] | None:
    """Attribute of the item, another value for it, and how to know that value again."""
    if item.get("MeasuredValueSequence"):
        measured = copy.deepcopy(item.MeasuredValueSequence)
        number = (Decimal(str(measured[0].NumericValue)) * Decimal("1.00123")).quantize(Decimal("1.00000000"))
        number = number or Decimal("1.00123")
        measured[0].NumericValue = str(number.normalize()) if abs(number) < 10**6 else str(number)[:16]
        unit = spelled(str(measured[0].MeasurementUnitsCodeSequence[0].CodeValue))
        return "MeasuredValueSequence", measured, ("number", (Decimal(str(measured[0].NumericValue)), unit))
    if item.get("ConceptCodeSequence"):
        coded = copy.deepcopy(item.ConceptCodeSequence)
        coded[0].CodeValue, coded[0].CodingSchemeDesignator, coded[0].CodeMeaning = "X1", "99MARK", _MARK
        return "ConceptCodeSequence", coded, ("words", _MARK)
    attribute = _PLAIN.get(str(item.ValueType))
    if attribute is None or not item.get(attribute):
        return None
    if attribute == "DateTime":
        told = str(item.DateTime)
        other = f"{told[:12]}{(int(told[12:14]) + 7) % 60:02d}"
        return attribute, other, ("words", f"T{other[8:10]}:{other[10:12]}:{other[12:14]}")
    if attribute == "UID":
        return attribute, _MARK_UID, ("words", _MARK_UID)
    return attribute, _MARK, ("words", _MARK)


def _tells(leaf: Leaf, check: Check) -> bool:
    kind, wanted = check
    if kind == "words":
        return str(wanted) in leaf[1]
    value, unit = wanted
    with suppress(InvalidOperation, ValueError):
        told = Decimal(leaf[1])
        meant = convert(value, unit, leaf[2]) if leaf[2] and leaf[2] != unit else value
        return bool(abs(told - meant) <= abs(meant) * Decimal("0.00001"))
    return f"{value.normalize():f}" in leaf[1]


def _element(path: str) -> str:
    steps = path.split(".")
    while len(steps) > 2 and steps[-1] in _WRITING:
        steps.pop()
    return ".".join(steps)


def table(paths: Sequence[Path]) -> Iterator[str]:
    """Markdown: for each file its header, for each structured report its content items as well."""
    patient = OnePatient(paths, shipped())
    for path in paths:
        report = pydicom.dcmread(path, stop_before_pixels=True)
        title = report.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in report else report.SeriesDescription
        yield from _section(f"{title}: header", header_rows(path, patient.understanding))
        if "ContentSequence" in report:
            yield from _section(f"{title}: content", rows_of(path, patient))


def _section(title: str, rows: Iterable[Row]) -> Iterator[str]:
    yield from (f"### {title}", "", "| Item | Says | Stands in |", "|---|---|---|")
    for row in rows:
        stands = ", ".join(f"`{place}`" for place in row.places)
        says = row.says.replace("|", "/")
        yield f"| {row.item} | {says[:60]} | {stands or row.why} |"
    yield ""


if __name__ == "__main__":
    print("\n".join(table(list(files_in([Path(name) for name in sys.argv[1:]])))))
