"""Where every published value comes from: the header's own words beside the FHIR element they became (promise 4).

The record tells which path each field was read from; the mapping's templates tell which FHIR elements a field goes to; the file and the
sealed bundle give both values. Nothing is computed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.dicom.items import Root
from gateway.dicom.reading import Header, read_header
from gateway.errors import Quarantined
from gateway.mapping.language import Mapping, Mappings
from gateway.mapping.template import ResourceTemplate
from gateway.model import Json, JsonObject, SharedFields
from gateway.nuclear.results import LABEL, OF
from gateway.r4.bundles import resources_of
from gateway.web import show
from gateway.workbench.source_words import flat, words_at_text

#: Places in a template that hold no value of the field: conditions and loops.
_NO_VALUE = frozenset({"if", "unless", "for_each"})
#: What several headers say of one thing is gathered under a name of its own before it is rendered.
_GATHERED = {"administration.event_uid": "administration.event_uids", "series.modality": "study.modalities"}
_LONGEST = 300
_MOST_VALUES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One FHIR element and what stands there; no value when it was withheld or the resource is another's."""

    element: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One field: read from where, what stood there, what it became."""

    name: str
    source: str
    header: str
    understood: str
    published: tuple[Published, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The rows of one level: patient, study, series, device, one administration."""

    title: str
    rows: tuple[Row, ...]


def explain(fields: SharedFields, file: Path, mappings: Mappings | None, bundles: Sequence[JsonObject | None]) -> list[Group]:
    """Everything that was read from one kind of header of a study."""
    header = _opened(file)
    resources = [resource for bundle in bundles if bundle for resource in resources_of(bundle)]
    mapping = _mapping(fields.mapping, mappings)
    templates = tuple(mapping.resources.values()) if mapping else ()
    # The sources of an administration are written from inside the item of the sequence that is repeated for each.
    repeated = mapping.repeated.text if mapping and mapping.repeated else ""
    return list(_Explainer(fields, header, templates, resources, repeated).groups())


def _opened(file: Path) -> Root | None:
    """The file, unless retention has let it go or it no longer reads."""
    try:
        header: Header = read_header(file)
    except (OSError, Quarantined):
        return None
    return Root(header)


def _mapping(name: str, mappings: Mappings | None) -> Mapping | None:
    """None when nobody has mappings here, or when the site has renamed this one since."""
    return next((mapping for mapping in mappings or () if mapping.name == name), None)


@dataclass(frozen=True, slots=True)
class _Explainer:
    fields: SharedFields
    header: Root | None
    templates: tuple[ResourceTemplate, ...]
    resources: list[JsonObject]
    repeated: str

    def groups(self) -> Iterator[Group]:
        series_uid = str(self.fields.series.get("uid", ""))
        levels: list[tuple[str, JsonObject, str, list[JsonObject]]] = [
            ("administration", item, f"{self.repeated}[{number}]." if self.repeated else "", self._facts_of(item))
            for number, item in enumerate(self.fields.administrations)
        ]
        plain = [item for item in self.resources if item["resourceType"] in ("Patient", "ImagingStudy")]
        levels += [
            ("series", self.fields.series, "", _only_series(plain, series_uid)),
            ("study", self.fields.study, "", plain),
            ("patient", self.fields.patient, "", plain),
            ("device", self.fields.device, "", self._device_of(series_uid)),
            ("document", self.fields.document, "", []),
        ]
        for level, values, prefix, resources in levels:
            rows = tuple(self._rows(level, values, prefix, resources))
            if rows:
                yield Group(title=level, rows=rows)
        results = tuple(self._results())
        if results:
            yield Group(title="dosimetry", rows=results)

    def _results(self) -> Iterator[Row]:
        """The members of each result, with the place of the report or the header that each was read from."""
        for result in self.fields.results:
            label = str(result.get(LABEL, ""))
            members = {name: value for name, value in result.items() if name not in (LABEL, OF, "kind")}
            for name, value in flat(label, members, self.fields.sources):
                source = self.fields.sources.get(name, "")
                stated = result.get("stated") if name.endswith(".value") else None
                yield Row(
                    name=name,
                    source=source,
                    header=show.field(stated) if stated else "",
                    understood=_short(show.field(value)),
                    published=(),
                )

    def _rows(self, level: str, values: JsonObject, prefix: str, resources: list[JsonObject]) -> Iterator[Row]:
        for name, value in flat(level, values, self.fields.sources):
            source = self.fields.sources.get(name, "")
            paths = [f"{prefix}{part}" for part in source.split(" + ")] if source else []
            yield Row(
                name=name,
                source=" + ".join(paths),
                header=_short(" + ".join(filter(None, (self._raw(path, source) for path in paths)))),
                understood=_short(show.field(value)),
                published=self._published(name, value, resources),
            )

    def _raw(self, path: str, written: str) -> str:
        """What stands in the header there, in its own words. A path from inside an item may also be one from the top."""
        if self.header is None:
            return ""
        header = self.header
        return next((found for text in (path, written) if (found := words_at_text(header, text))), "")

    def _published(self, name: str, value: Json, resources: list[JsonObject]) -> tuple[Published, ...]:
        """The elements this field may go to, with what stands there; those that stand empty only when all do."""
        found: dict[tuple[str, str], Published] = {}
        for template in self.templates:
            for place, path in template.body.paths:
                part = _part(name, value, path.replace("[]", ""))
                steps = tuple(step for step in place if isinstance(step, str) and step != "is")
                if part is None or (steps[-1:] and steps[-1] in _NO_VALUE):
                    continue
                element, told = ".".join((template.resource_type, *steps)), _at(resources, template.resource_type, steps, part)
                found.setdefault((element, told), Published(element=element, value=told))
        return tuple(item for item in found.values() if item.value) or tuple(found.values())

    def _facts_of(self, item: JsonObject) -> list[JsonObject]:
        """The MedicationAdministration that this header tells of, with its Medication and Observations."""
        candidates = [item for item in self.resources if item["resourceType"] == "MedicationAdministration"]
        event = f"urn:oid:{item.get('event_uid')}"
        named = [c for c in candidates if any(i.get("value") == event for i in c.get("identifier", ()))]
        same = [
            c
            for c in candidates
            if item.get("started_at") in (c.get("effectiveDateTime"), c.get("effectivePeriod", {}).get("start"))
        ]
        chosen = (named or (candidates if len(candidates) == 1 else same))[:1]
        if not chosen:
            return []
        me = f"MedicationAdministration/{chosen[0]['id']}"
        drug = chosen[0].get("medicationReference", {}).get("reference")
        return chosen + [
            r
            for r in self.resources
            if f"{r['resourceType']}/{r['id']}" == drug or any(p.get("reference") == me for p in r.get("partOf", ()))
        ]

    def _device_of(self, series_uid: str) -> list[JsonObject]:
        references = {
            performer.get("actor", {}).get("reference")
            for study in self.resources
            for series in study.get("series", ())
            if series.get("uid") == series_uid
            for performer in series.get("performer", ())
        }
        return [item for item in self.resources if f"{item['resourceType']}/{item['id']}" in references]


def _only_series(resources: list[JsonObject], uid: str) -> list[JsonObject]:
    return [
        {**item, "series": [series for series in item["series"] if series.get("uid") == uid]} if "series" in item else item
        for item in resources
    ]


def _part(name: str, value: Json, path: str) -> Json:
    """What of a field a hole of a template shows; None when the hole is another field's, or a part that this value does not have."""
    if path in (name, _GATHERED.get(name)):
        return value
    steps = path.removeprefix(f"{name}.").split(".") if path.startswith(f"{name}.") else []
    # The name of a code system stands beside its code and says nothing by itself.
    if not steps or steps[-1] == "system":
        return None
    part = value
    for step in steps:
        part = part.get(step) if isinstance(part, dict) else None
    return part


def _at(resources: list[JsonObject], kind: str, steps: tuple[str, ...], part: Json) -> str:
    """What stands at a place of the resources of one kind; of several values those that say what was understood, if any does."""
    found: list[Json] = [item for item in resources if item["resourceType"] == kind]
    for step in steps:
        found = [value for item in found if isinstance(item, dict) and step in item for value in _as_list(item[step])]
    texts = list(dict.fromkeys(show.fhir(value) for value in found))
    understood = [text for text in (show.field(item) for item in _as_list(part)) if text]
    same = [text for text in texts if text in understood]
    alike = [text for text in texts if any(words in text for words in understood)]
    return _short("; ".join((same or alike or texts)[:_MOST_VALUES]))


def _as_list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [value]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
