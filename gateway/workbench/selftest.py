"""Runs the tests inside mapping files. Used by ``isobridge mappings test`` and by pytest alike.

A test encodes the mapping's example with its ``given`` differences as a real DICOM file, reads and normalises it as the
gateway does, renders the mapping's resources in a small invented scope, and compares. Expected objects and lists are parts: what
they do not mention may be anything, ``{}`` in a list stands for any entry. Whatever a test expects, all that is rendered must be
valid FHIR, and ``match`` must choose the mapping for its own example: a test of rules that never run proves nothing.
"""

from __future__ import annotations

import datetime as dt
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.dicom.reading import Header
from gateway.errors import Quarantined
from gateway.fhir.facts import administration_scope
from gateway.gather.suv import suv_factor
from gateway.mapping.example import encode, merged, opened
from gateway.mapping.language import Mapping, Mappings
from gateway.mapping.matching import fits
from gateway.mapping.rules import REPEATED, MappingTest
from gateway.mapping.template import ResourceTemplate
from gateway.model import Dossier, Json, JsonObject, Record, SharedFields
from gateway.normalise.coerce import coerce
from gateway.normalise.record import SharedCache, SiteContext, normalise
from gateway.r4.validate import validate
from gateway.workbench.example_facts import facts, gathered, study_of
from gateway.workbench.plain import quoted

#: Tests speak of local times in this zone.
SITE = SiteContext(timezone=ZoneInfo("Europe/Brussels"))
#: When the invented object came: goes into its Original Attributes Sequence.
_ARRIVED = dt.datetime(2024, 5, 13, 12, 0, tzinfo=dt.UTC)
_STEP = re.compile(r"([^.\[\]]+)((?:\[\d+\])*)\.?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """What came of one inline test. ``reasons`` is empty when it passed."""

    __test__ = False  # not a test class, whatever pytest thinks of the name

    mapping: str
    name: str
    where: str
    reasons: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.reasons

    def as_json(self) -> JsonObject:
        return {
            "mapping": self.mapping, "name": self.name, "where": self.where, "ok": self.ok, "reasons": list(self.reasons),
        }  # fmt: skip


def run_tests(mappings: Mappings) -> list[TestResult]:
    """Run every inline test of every mapping."""
    return [run_test(mapping, test, mappings) for mapping in mappings for test in mapping.tests]


def run_test(mapping: Mapping, test: MappingTest, mappings: Mappings) -> TestResult:
    """Run one inline test of one of the mappings."""
    reasons = tuple(_reasons(mapping, test, mappings))
    return TestResult(mapping=mapping.name, name=test.name, where=test.where, reasons=reasons)


def read_example(mapping: Mapping, test: MappingTest) -> Header:
    """The object a test speaks of: the example with its differences, encoded and opened like a file."""
    return opened(merged(mapping.example, test.given))


def read_record(header: Header, mapping: Mapping) -> Record:
    """What the mapping reads from it, as in the gateway. Raises :class:`~gateway.errors.Quarantined`."""
    return normalise(header, mapping, SITE, SharedCache(1))


def given_record(mapping: Mapping, test: MappingTest) -> Record:
    """What a test says was read, as the record of an object of this mapping."""
    told = test.record
    shared = SharedFields(
        key="example",
        mapping=mapping.name,
        mapping_version=mapping.version,
        patient=told.get("patient") or {},
        study={"uid": "2.25.1", **(told.get("study") or {})},
        series={"uid": "2.25.2", "modality": "SR", **(told.get("series") or {})},
        device={},
        document=told.get("document") or {},
        administrations=tuple(told.get("administrations") or ()),
        results=tuple(told.get("results") or ()),
    )
    return Record(shared=shared, instance={})


def _reasons(mapping: Mapping, test: MappingTest, mappings: Mappings) -> list[str]:
    unchosen: list[str] = []
    try:
        if test.record:
            record = given_record(mapping, test)
        else:
            header = read_example(mapping, test)
            unchosen += selection_differences(header, mapping, mappings)
            record = read_record(header, mapping)
    except Quarantined as error:
        return [*unchosen, *quarantine_differences(error, test.expect)]
    if test.expect.get("outcome") == "quarantined":
        return [*unchosen, "was not quarantined"]
    return [
        *unchosen,
        *record_differences(record, test.expect),
        *_resource_differences(render_all(mapping, record), test.expect),
        *dicom_differences(mapping, test, record),
    ]


def selection_differences(header: Header, mapping: Mapping, mappings: Mappings) -> Iterable[str]:
    """Why the gateway would not read this object by the mapping, or nothing. Bases for others (``match: nothing``) are never chosen.

    A site's mapping may take objects over from one that is not the site's: that is what it is for.
    """
    if mapping.abstract:
        return
    wrong = " and ".join(dict.fromkeys(rule.key for rule in mapping.conditions if not fits(rule, header)))
    try:
        chosen = mappings.for_header(header)
    except Quarantined:
        yield f"no mapping would read this object: the 'match' of '{mapping.name}' asks for another {wrong}"
        return
    if wrong:
        yield f"'{chosen.name}' would read this object, not '{mapping.name}', whose 'match' asks for another {wrong}"
    elif chosen is not mapping and not (_is_site(chosen) and not _is_site(mapping)):
        yield (
            f"'{chosen.name}' ({chosen.file}) would read this object, not '{mapping.name}': both match it, and '{chosen.name}' goes"
            f" first (priority {chosen.priority}, {chosen.depth} deep; this one priority {mapping.priority}, {mapping.depth} deep)"
        )


def _is_site(mapping: Mapping) -> bool:
    return mapping.file.startswith("sites/")


def quarantine_differences(error: Quarantined, expect: JsonObject) -> Iterable[str]:
    if expect.get("outcome") != "quarantined":
        yield f"was quarantined: {error.reason}"
    for wanted in expect.get("issues", ()):
        if wanted not in error.reason:
            yield f"no issue says '{wanted}'; the reason was: {error.reason}"


def record_differences(record: Record, expect: JsonObject) -> Iterable[str]:
    fields = _fields(record)
    for name, wanted in expect.get("fields", {}).items():
        yield from _differences(name, _look(fields, name), wanted)
    for index, wanted in enumerate(expect.get("results", ())):
        told = record.shared.results
        yield from _differences(f"results[{index}]", told[index] if index < len(told) else None, wanted)
    if "results" in expect and len(record.shared.results) > len(expect["results"]):
        yield f"results should be {len(expect['results'])} and are {len(record.shared.results)}"
    for name in expect.get("absent", ()):
        if (found := _look(fields, name)) is not None:
            yield f"{name} should be absent and is {quoted(found)}"
    said = [f"{issue.field} {issue.reason}" for issue in (*record.shared.issues, *record.issues)]
    for wanted in expect.get("issues", ()):
        if not any(wanted in sentence for sentence in said):
            yield f"no issue says '{wanted}'; issues: {'; '.join(said) or 'none'}"


def _resource_differences(rendered: dict[str, JsonObject], expect: JsonObject) -> Iterable[str]:
    for name in dict.fromkeys((*expect.get("resources", {}), *rendered)):
        yield from resource_differences(name, rendered.get(name), expect)


def resource_differences(name: str, resource: JsonObject | None, expect: JsonObject) -> Iterable[str]:
    """What of one resource is not as a test wants it; whatever it wants, it must be valid FHIR."""
    wanted = expect.get("resources", {})
    if name in wanted:
        yield from _differences(name, resource, wanted[name])
    if resource is not None:
        yield from (f"{name} is not valid FHIR: {complaint}" for complaint in validate({"id": "example", **resource}))


def dicom_differences(mapping: Mapping, test: MappingTest, record: Record) -> Iterable[str]:
    """What of the normalised DICOM is not as a test wants it: ``path: words`` as they go out, ``path: null`` where nothing changes."""
    wanted = test.expect.get("dicom")
    if not wanted:
        return
    with tempfile.NamedTemporaryFile(prefix="example-", suffix=".dcm") as file:
        file.write(encode(merged(mapping.example, test.given)))
        file.flush()
        coerced = coerce(Path(file.name), record, mapping, arrived_at=_ARRIVED, zone=SITE.timezone)
    changes = {change.path: change.after for change in coerced.changes}
    for path, words in wanted.items():
        if words is None and path in changes:
            yield f"dicom {path} should stay as it is and becomes '{changes[path]}'"
        elif words is not None and changes.get(path) != words:
            found = f"becomes '{changes[path]}'" if path in changes else "stays as it is"
            yield f"dicom {path} should become '{words}' and {found}"


def _fields(record: Record) -> JsonObject:
    shared = record.shared
    return {
        "patient": shared.patient,
        "study": shared.study,
        "series": shared.series,
        "device": shared.device,
        "document": shared.document,
        "instance": record.instance,
        REPEATED: list(shared.administrations),
    }


def _look(tree: Json, name: str) -> Json:
    """The value at a dotted, indexed name; a list without index means its first entry."""
    for word, indexes in _STEP.findall(name):
        if isinstance(tree, list):
            tree = tree[0] if tree else None
        tree = tree.get(word) if isinstance(tree, dict) else None
        for index in re.findall(r"\d+", indexes):
            tree = tree[int(index)] if isinstance(tree, list) and int(index) < len(tree) else None
    return tree


def _differences(name: str, found: Json, wanted: Json) -> Iterable[str]:
    """What of the wanted part is not there."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            yield from _differences(f"{name}.{key}", found.get(key), value)
    elif isinstance(wanted, list) and isinstance(found, list):
        for index, value in enumerate(wanted):
            yield from _differences(f"{name}[{index}]", found[index] if index < len(found) else None, value)
    elif wanted != {} and not _same(found, wanted):
        yield (
            f"{name} should be {quoted(wanted)} and is {quoted(found)}"
            if found is not None
            else f"{name} should be {quoted(wanted)} and is absent"
        )


def _same(found: Json, wanted: Json) -> bool:
    numbers = (int, Decimal)
    if isinstance(found, numbers) and isinstance(wanted, numbers) and type(found) is not bool and type(wanted) is not bool:
        return Decimal(found) == Decimal(wanted)
    return type(found) is type(wanted) and bool(found == wanted)


def render_all(mapping: Mapping, record: Record) -> dict[str, JsonObject]:
    """Every resource of the mapping, of the first administration, as rendering would call them; a second one of a result as ``name[1]``."""
    rendered: dict[str, JsonObject] = {}
    met: Counter[str] = Counter()
    for template, scope in renderings(mapping, record):
        body = template.body.render(scope)
        if body is not None:
            name = f"{template.name}[{met[template.name]}]" if met[template.name] else template.name
            rendered[name] = body
            met[template.name] += 1
    return rendered


def renderings(mapping: Mapping, record: Record) -> Iterator[tuple[ResourceTemplate, JsonObject]]:
    """The templates of which something is made, each with what it is filled from."""
    refs = {"endpoint": "Endpoint/example"}
    for per in ("patient", "device", "study", "series", "administration"):
        scope = _scope(record, per, refs)
        if per == "administration" and not record.shared.administrations:
            continue
        wanted = [template for template in mapping.resources.values() if template.per == per]
        refs |= {t.name: f"{t.resource_type}/example" for t in wanted if t.identify(scope)}
        yield from ((template, {**scope, "refs": refs}) for template in wanted if template.name in refs)
    yield from facts(mapping, record, refs)


def _scope(record: Record, per: str, refs: dict[str, str]) -> JsonObject:
    fields = _fields(record)
    patient = {"key": "example", **fields["patient"]}
    series = {**fields["series"], "number_of_instances": 1, "instances": [fields["instance"]], "refs": refs}
    modality = fields["series"].get("modality")
    first = next(iter(gathered(record).administrations), None) if per == "administration" else None
    scopes: dict[str, JsonObject] = {
        "patient": {"patient": patient},
        "device": {"device": {"key": "example", **fields["device"]}},
        "study": {
            "patient": patient,
            "study": {
                **fields["study"],
                "modalities": [modality] if modality else [],
                "number_of_series": 1,
                "number_of_instances": 1,
            },
            "series": [series],
        },
        "series": {
            "patient": patient,
            "study": fields["study"],
            "series": {**series, "suv": suv_factor(str(fields["series"].get("uid")), [record.shared], [record.instance])},
        },
        "administration": _administration_scope(record, patient, gathered(record) if first else None),
    }
    return scopes[per]


def _administration_scope(record: Record, patient: JsonObject, dossier: Dossier | None) -> JsonObject:
    studies = [study_of(record)]
    if dossier is None:
        return {"patient": patient, "administration": {}, "studies": studies}
    scope = administration_scope(dossier.administrations[0], patient, studies, dossier.documents, dossier.results)
    return {**scope, "administration": {**scope["administration"], "key": "example"}}
