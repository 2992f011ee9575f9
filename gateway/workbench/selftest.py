"""Runs the tests inside mapping files. Used by ``isobridge mappings test`` and by pytest alike.

A test encodes the mapping's example with its ``given`` differences as a real DICOM file, reads and normalises it as the
gateway does, renders the mapping's resources in a small invented scope, and compares. Expected objects and lists are parts: what
they do not mention may be anything, ``{}`` in a list stands for any entry. Whatever a test expects, all that is rendered must be
valid FHIR.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from zoneinfo import ZoneInfo

from gateway.errors import Quarantined
from gateway.mapping.example import merged, opened
from gateway.mapping.language import Mapping, Mappings
from gateway.mapping.rules import REPEATED, MappingTest
from gateway.model import Json, JsonObject, Record
from gateway.normalise.record import SharedCache, SiteContext, normalise
from gateway.r4.validate import validate

#: Tests speak of local times in this zone.
SITE = SiteContext(timezone=ZoneInfo("Europe/Brussels"))
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


def run_tests(mappings: Mappings) -> list[TestResult]:
    """Run every inline test of every mapping."""
    return [run_test(mapping, test) for mapping in mappings for test in mapping.tests]


def run_test(mapping: Mapping, test: MappingTest) -> TestResult:
    """Run one inline test."""
    reasons = tuple(_reasons(mapping, test))
    return TestResult(mapping=mapping.name, name=test.name, where=test.where, reasons=reasons)


def unproven_fields(mapping: Mapping) -> list[str]:
    """The mapping's own fields that could vanish without any of its tests failing: rules without proof."""
    return [name for name in mapping.own_fields if not _missed(mapping, name)]


def _missed(mapping: Mapping, name: str) -> bool:
    without = dataclasses.replace(mapping, fields=tuple(rule for rule in mapping.fields if rule.name != name))
    return any(not run_test(without, test).ok for test in mapping.tests)


def _reasons(mapping: Mapping, test: MappingTest) -> list[str]:
    try:
        record = normalise(opened(merged(mapping.example, test.given)), mapping, SITE, SharedCache(1))
    except Quarantined as error:
        return list(_quarantine_differences(error, test.expect))
    if test.expect.get("outcome") == "quarantined":
        return ["was not quarantined"]
    return [*_record_differences(record, test.expect), *_resource_differences(_render(mapping, record), test.expect)]


def _quarantine_differences(error: Quarantined, expect: JsonObject) -> Iterable[str]:
    if expect.get("outcome") != "quarantined":
        yield f"was quarantined: {error.reason}"
    for wanted in expect.get("issues", ()):
        if wanted not in error.reason:
            yield f"no issue says '{wanted}'; the reason was: {error.reason}"


def _record_differences(record: Record, expect: JsonObject) -> Iterable[str]:
    fields = _fields(record)
    for name, wanted in expect.get("fields", {}).items():
        yield from _differences(name, _look(fields, name), wanted)
    for name in expect.get("absent", ()):
        if (found := _look(fields, name)) is not None:
            yield f"{name} should be absent and is {found}"
    said = [f"{issue.field} {issue.reason}" for issue in (*record.shared.issues, *record.issues)]
    for wanted in expect.get("issues", ()):
        if not any(wanted in sentence for sentence in said):
            yield f"no issue says '{wanted}'; issues: {'; '.join(said) or 'none'}"


def _resource_differences(rendered: dict[str, JsonObject], expect: JsonObject) -> Iterable[str]:
    for name, wanted in expect.get("resources", {}).items():
        yield from _differences(name, rendered.get(name), wanted)
    for name, resource in rendered.items():
        for complaint in validate({"id": "example", **resource}):
            yield f"{name} is not valid FHIR: {complaint}"


def _fields(record: Record) -> JsonObject:
    shared = record.shared
    return {
        "patient": shared.patient,
        "study": shared.study,
        "series": shared.series,
        "device": shared.device,
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
            f"{name} should be {wanted!r} and is {found!r}" if found is not None else f"{name} should be {wanted!r} and is absent"
        )


def _same(found: Json, wanted: Json) -> bool:
    numbers = (int, Decimal)
    if isinstance(found, numbers) and isinstance(wanted, numbers) and type(found) is not bool and type(wanted) is not bool:
        return Decimal(found) == Decimal(wanted)
    return type(found) is type(wanted) and bool(found == wanted)


def _render(mapping: Mapping, record: Record) -> dict[str, JsonObject]:
    """Every resource of the mapping once, of the first administration, as rendering would call them."""
    rendered: dict[str, JsonObject] = {}
    refs: dict[str, str] = {}
    for per in ("patient", "device", "study", "administration"):
        scope = _scope(record, per, refs)
        if per == "administration" and not record.shared.administrations:
            continue
        wanted = [template for template in mapping.resources.values() if template.per == per]
        refs |= {t.name: f"{t.resource_type}/example" for t in wanted if t.identify(scope)}
        for template in wanted:
            body = template.body.render({**scope, "refs": refs}) if template.name in refs else None
            if body is not None:
                rendered[template.name] = body
    return rendered


def _scope(record: Record, per: str, refs: dict[str, str]) -> JsonObject:
    fields = _fields(record)
    patient = {"key": "example", **fields["patient"]}
    series = {**fields["series"], "number_of_instances": 1, "instances": [fields["instance"]], "refs": refs}
    modality = fields["series"].get("modality")
    first = (record.shared.administrations or ({},))[0]
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
        "administration": {
            "patient": patient,
            "administration": {"key": "example", "event_uids": [first["event_uid"]] if "event_uid" in first else [], **first},
            "studies": [{"reference": "ImagingStudy/example"}],
        },
    }
    return scopes[per]
