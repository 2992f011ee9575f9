"""Every fact of structured reports, and where it stands in FHIR, as Markdown: for a person who wants to see that nothing was lost.

    python -m tests.harness.fact_table STUDY_FOLDER_OR_FILE ... > facts.md

Where a fact stands is tried, not guessed by its words: each content item in turn is written with another value, the study goes through
reading, gathering and rendering again, and the elements of FHIR that now tell the new value are where it stands. All files are taken as
one patient's, as after ``isobridge study accept``. Whatever reaches no element says why, or the table has an open row.
"""

from __future__ import annotations

import copy
import dataclasses
import re
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

from gateway.dicom.items import Root
from gateway.dicom.reading import read_header
from gateway.errors import Quarantined
from gateway.model import Json
from gateway.nuclear.units import convert, spelled
from gateway.workbench.coverage import content_items, coverage, judged
from gateway.workbench.explain import explain
from gateway.workbench.explanation import INDEX, value_text
from gateway.workbench.folders import files_in
from gateway.workbench.origins import Origins
from gateway.workbench.walk import reads_of
from tests.harness.fact_reasons import FIELDS, ON_PURPOSE, UNREAD
from tests.harness.one_patient import MAPPINGS, Leaf, OnePatient, leaves, shipped

OPEN = "not in FHIR, no reason"
#: What names study, series and document: written anew, it would be another one.
_KEYS = frozenset(
    {
        "study.uid",
        "series.uid",
        "series.modality",
        "document.uid",
        "document.study_uid",
        "document.series_uid",
        "administration.start_clock",
    }
)
_MARK = "zzMARKzz"
_MARK_UID = "2.25.98765432123456789"
#: Text-like value types and the attribute that holds the value (PS3.3 table C.17.3-1).
_PLAIN = {"TEXT": "TextValue", "UIDREF": "UID", "PNAME": "PersonName", "DATETIME": "DateTime"}
#: Steps that only say how a value is written; the element above them is where it stands.
_WRITING = ("value", "text", "code", "system", "coding", "unit", "display", "family", "start", "end")
Check = tuple[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One content item: by meanings, what it says, in which elements it stands, or why in none."""

    item: str
    says: str
    places: tuple[str, ...]
    why: str


def header_rows(path: Path, patient: OnePatient) -> Iterator[Row]:
    """A row for each field of the header with its value, then for each group of elements that no rule reads."""
    before = leaves(patient.resources())
    for field in explain(path, patient.understanding, Origins(MAPPINGS)).fields:
        used = [origin for origin in field.origins if origin.used]
        from_tree = any(origin.path.startswith(("sr ", "$", "1")) for origin in used)
        if field.name.startswith("results.") or field.value is None or from_tree:
            continue
        alone = tuple(sorted({_element(INDEX.sub("", one.element)) for one in field.elements}))
        places = _places_of_field(field.name, path, patient, before)
        names = " + ".join(origin.path for origin in used) or field.name
        why = "" if alone or places else _field_reason(field.name)
        if alone and places == ():
            said = {(INDEX.sub("", one.element), str(one.value)) for one in field.elements}
            if said & {leaf[:2] for leaf in before}:
                places = alone  # several documents say the same
            else:
                why = f"another document of the patient counts first; without it: {', '.join(f'`{one}`' for one in alone)}"
        yield Row(names, value_text(field.value), alone if places is None else places, why)
    groups: dict[str, list[str]] = {}
    for one in coverage([path], patient.understanding.mappings).unread:
        if one.vr != "SR":
            groups.setdefault(_unread_reason(one.path), []).append(one.path)
    for reason, paths in sorted(groups.items()):
        tops = dict.fromkeys(name if name in UNREAD.get(reason, "").split() else name.partition(".")[0] for name in paths)
        yield Row(", ".join(tops), f"{len(paths)} elements", (), reason)


def _places_of_field(name: str, path: Path, patient: OnePatient, before: Counter[Leaf]) -> tuple[str, ...] | None:
    """Where a field of the header stands beside all other documents: written anew and looked for. ``None`` when it cannot be tried."""
    level, *keys = name.split(".")
    record = patient.record(path)
    if level == "instance" or name in _KEYS:
        return None
    administrations = record.shared.administrations
    tree: Json = copy.deepcopy(administrations[0] if level == "administration" else getattr(record.shared, level))
    node = tree
    for key in keys[:-1]:
        node = node[key]
    written = _marked(node[keys[-1]])
    if written is None:
        return None
    node[keys[-1]], check = written
    changed = {"administrations": (tree, *administrations[1:])} if level == "administration" else {level: tree}
    shared = dataclasses.replace(record.shared, key=f"{record.shared.key}x", **changed)
    try:
        after = leaves(patient.resources(path, dataclasses.replace(record, shared=shared)))
    except Quarantined:
        return None
    known = {leaf[0] for leaf in before}
    return tuple(sorted({_element(leaf[0]) for leaf in after - before if _tells(leaf, check) and leaf[0] in known}))


def _marked(value: Json) -> tuple[Json, Check] | None:
    """Another value of the same shape, and how to know it again."""
    if isinstance(value, dict) and value.keys() == {"value", "unit"}:
        number = Decimal(value["value"]) * Decimal("1.00123")
        return {**value, "value": number}, ("number", (number, value["unit"]))
    if isinstance(value, dict) and "text" in value:
        return {"text": _MARK}, ("words", _MARK)
    if not isinstance(value, str):
        return None
    if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*", value):
        seconds = f"{(int(value[17:19]) + 7) % 60:02d}"
        return f"{value[:17]}{seconds}{value[19:]}", ("words", f"{value[10:17]}{seconds}")
    return (_MARK_UID, ("words", _MARK_UID)) if re.fullmatch(r"[0-9.]{10,64}", value) else (_MARK, ("words", _MARK))


def _field_reason(name: str) -> str:
    fitting = [known for known in FIELDS if name == known or name.startswith(f"{known}.")]
    return FIELDS[max(fitting, key=len)] if fitting else OPEN


def _unread_reason(path: str) -> str:
    return next((reason for reason, starts in UNREAD.items() if path.startswith(tuple(starts.split()))), OPEN)


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
    if concept in ON_PURPOSE:
        return ON_PURPOSE[concept]
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
        yield from _section(f"{title}: header", header_rows(path, patient))
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
