"""Where every value of one file comes from: the FHIR element, the rule in force with its line, the conversion, the header's own words.

The trace is exact: the same templates are rendered as by the gateway, and each tells which line made which element from which field
(``mapping/template.py``). Nothing is published; the file goes through the same reading, gathering and rendering as in the daemon.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.dicom import sr
from gateway.dicom.elements import Element
from gateway.dicom.items import Item, Root
from gateway.dicom.paths import Path as DicomPath
from gateway.dicom.reading import read_header
from gateway.dicom.values import Invalid
from gateway.fhir.provenance import instant
from gateway.mapping.rules import FieldRule, Mapping
from gateway.mapping.sources import REPEATED, ArrivalFact, FieldRef, FramePath, ItemPath, MetaPath, Plain, Source, plain
from gateway.mapping.template import ResourceTemplate
from gateway.mapping.traced import Traced
from gateway.model import Json, JsonObject, Record
from gateway.normalise.coerce import coerce
from gateway.normalise.record import Reading, SiteContext
from gateway.nuclear.results import MEMBERS
from gateway.r4.bundles import resources_of
from gateway.understanding import Understanding
from gateway.workbench.convert import Problem, bundles_of
from gateway.workbench.explain_results import ResultReader
from gateway.workbench.explanation import INDEX, Explained, Explanation, Filled, Origin, value_text
from gateway.workbench.origins import Origins
from gateway.workbench.source_words import label_of
from gateway.workbench.source_words import words as words_of

#: What rendering makes of members and fields under a name of its own (``fhir/facts.py``, ``fhir/render.py``).
_TOLD_AS = {"uncertainty_in_unit": "uncertainty", "fit_r2": "fit.r2", "parameter_text": "parameter", "effective": "at"}
_GATHERED = {"administration.event_uids": "administration.event_uid", "study.modalities": "series.modality"}


def explain(path: Path, understanding: Understanding, origins: Origins) -> Explanation:
    """Explain one file. Raises :class:`~gateway.errors.Quarantined` when it cannot be understood, and :class:`OSError`."""
    header = read_header(path)
    mapping = understanding.mappings.for_header(header)
    record = understanding.understand(header)
    witnessed, problems = _Witnessed(understanding), list[Problem]()
    witnessed.render(record, path, problems)
    explainer = _Explainer(Root(header), mapping, record, witnessed, problems, origins, understanding.site)
    fields = (*explainer.fields(), *explainer.results())
    # An issue of the object as a whole stands under no field.
    named = [one.name for one in fields]
    rest = [issue for issue in explainer.issues if not any(_is_of(issue[0], name) for name in named)]
    return Explanation(
        path=path,
        mapping=mapping.name,
        version=mapping.version,
        fields=fields,
        written=tuple(explainer.written()),
        issues=tuple(f"{severity}: {name} {reason}".replace("  ", " ") for name, severity, reason in rest),
        changes=coerce(
            path, record, mapping, arrived_at=dt.datetime.fromtimestamp(0, dt.UTC), zone=understanding.site.timezone
        ).changes,
    )


class _Witnessed:
    """The gateway's own rendering of one record, with every template, scope and resource kept."""

    def __init__(self, understanding: Understanding) -> None:
        self.made: list[tuple[ResourceTemplate, JsonObject, JsonObject]] = []
        renderer = understanding.renderer.with_witness(lambda *made: self.made.append(made))
        self._understanding = dataclasses.replace(understanding, renderer=renderer)

    def render(self, record: Record, path: Path, problems: list[Problem]) -> None:
        bundles = list(bundles_of([record], [path], self._understanding, instant(0), problems))
        released = {(item["resourceType"], item["id"]) for bundle in bundles for item in resources_of(bundle)}
        seen: set[tuple[str, str]] = set()
        for made in list(self.made):
            key = (made[2]["resourceType"], made[2]["id"])
            if key not in released or key in seen:  # the study and the dossier both hold the Patient
                self.made.remove(made)
            seen.add(key)


@dataclass(frozen=True, slots=True)
class _Explainer:
    root: Root
    mapping: Mapping
    record: Record
    witnessed: _Witnessed
    problems: list[Problem]
    origins: Origins
    context: SiteContext

    @property
    def issues(self) -> list[tuple[str, str, str]]:
        own = [(i.field, str(i.severity), i.reason) for i in (*self.record.shared.issues, *self.record.issues)]
        return list(dict.fromkeys([*own, *((p.field, str(p.severity), p.reason) for p in self.problems)]))

    def fields(self) -> Iterator[Explained]:
        filled = self._filled()
        count = len(self.record.shared.administrations)
        items = self._items()
        for rule in self.mapping.fields:
            for number in range(max(count, len(items), 1) if rule.level == REPEATED else 1):
                label = label_of(rule.name, number, max(count, len(items)))
                item = items[number] if number < len(items) else None
                value = _value(self.record, rule, number)
                yield Explained(
                    name=label,
                    value=value,
                    origins=tuple(self._origins(rule, number, item, label, has_value=value is not None)),
                    rule=self.origins.field(self.mapping.name, rule.name),
                    conversion=_conversion(rule),
                    issues=tuple(f"{severity}: {reason}" for name, severity, reason in self.issues if _is_of(name, label)),
                    elements=tuple(filled.get(label, ())),
                    could_fill=tuple(dict.fromkeys(self._could_fill(rule.name))),
                )

    def results(self) -> Iterator[Explained]:
        """The members of each result, under the label of the result."""
        filled = self._filled()
        reader = ResultReader(self.root, self.mapping, self.record, self.context, self._items())
        for label, (member, value, places, rule, where) in reader.members():
            name = f"{label}.{member}"
            used = self.record.shared.sources.get(name, "")
            yield Explained(
                name=name,
                value=value,
                origins=tuple(Origin(path=path, words=words, used=bool(words) and value is not None) for path, words in places),
                rule=where.rpartition(":")[0],
                conversion=_conversion(rule) if rule else "it stands in the mapping",
                issues=tuple(f"{severity}: {reason}" for issue, severity, reason in self.issues if _is_of(issue, name)),
                elements=tuple(filled.get(name, ())),
                could_fill=(),
                at=used,
            )

    def written(self) -> Iterator[Filled]:
        """Elements that no field fills."""
        for template, scope, resource in self.witnessed.made:
            for traced in template.body.trace(scope):
                if not any(self._label(read, scope) for read in traced.reads):
                    yield self._element(template, resource, traced)

    def _filled(self) -> dict[str, list[Filled]]:
        found: dict[str, list[Filled]] = {}
        for template, scope, resource in self.witnessed.made:
            for traced in template.body.trace(scope):
                for label in dict.fromkeys(filter(None, (self._label(read, scope) for read in traced.reads))):
                    found.setdefault(label, []).append(self._element(template, resource, traced))
        return found

    def _element(self, template: ResourceTemplate, resource: JsonObject, traced: Traced) -> Filled:
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in traced.element)
        return Filled(
            element=f"{resource['resourceType']}{place}",
            value=traced.value,
            line=self.origins.resource(self.mapping.name, template.name, *traced.line),
            conditions=traced.conditions,
        )

    def _label(self, read: str, scope: JsonObject) -> str | None:
        """The field behind a path of a template, as the record calls it; None for what rendering adds."""
        path = INDEX.sub("", read)
        if path.startswith("result."):
            return self._member(path.removeprefix("result."), scope)
        name = _field_name(path, self.mapping)
        if name is None or not name.startswith(f"{REPEATED}."):
            return name
        return label_of(name, self._number(scope), len(self.record.shared.administrations))

    def _member(self, path: str, scope: JsonObject) -> str | None:
        """The member of a result behind a path of a template."""
        label = scope.get("result", {}).get("label")
        fitting = [name for name in (*MEMBERS, *_TOLD_AS) if path == name or path.startswith(f"{name}.")]
        member = max(fitting, key=len, default=None)
        return f"{label}.{_TOLD_AS.get(member, member)}" if label and member else None

    def _number(self, scope: JsonObject) -> int:
        """Which administration of the record a scope was made of: the one that says most of the same."""
        told = scope.get(REPEATED, {})
        same = [sum(told.get(key) == value for key, value in one.items()) for one in self.record.shared.administrations]
        return max(range(len(same)), key=same.__getitem__) if same else 0

    def _could_fill(self, name: str) -> Iterator[str]:
        for template in self.mapping.resources.values():
            for place, path in template.body.paths:
                steps = [str(step) for step in place if isinstance(step, str) and step != "is"]
                holds_value = bool(steps) and steps[-1] not in ("if", "unless", "for_each")
                if holds_value and _field_name(path.replace("[]", ""), self.mapping) == name:
                    yield ".".join((template.resource_type, *steps))

    def _items(self) -> tuple[Item, ...]:
        repeated = self.mapping.repeated
        if repeated is None:
            return ()
        try:
            found = self.root.find(repeated) if isinstance(repeated, DicomPath) else sr.find(self.root, repeated)
        except Invalid:
            return ()
        return found.items if found else ()

    def _origins(self, rule: FieldRule, number: int, item: Item | None, label: str, *, has_value: bool) -> Iterator[Origin]:
        """Every place the rule may read, in its order."""
        reading = Reading(
            self.root,
            self.context,
            {REPEATED: item} if item else {},
            known=self._known(number),
            shared=self.record.shared,
        )
        used = set(filter(None, self.record.shared.sources.get(label, "").split(" + ")))
        instance, told = rule.level == "instance", False
        known: set[str] = set()
        for source in dict.fromkeys(source for part in rule.sources.values() for source in part):
            bare = plain(source)
            if isinstance(bare, FieldRef):
                value = reading.value(bare.name)
                yield Origin(
                    path=bare.name, words="" if value is None else value_text(value), used=has_value and value is not None
                )
                continue
            element = _read(reading, source)
            words = element if isinstance(element, str) else words_of(element) if element else ""
            text = source_text(bare)
            known.add(text)
            # The record keeps no sources of the instance level: its rules take the first place that is there.
            taken = has_value and bool(words) and (not told if instance else text in used)
            told = told or taken
            yield Origin(path=self._shown(bare, number), words=words, used=taken)
        for other in sorted(used - known):
            yield Origin(path=other, words="", used=True)  # a code table, or a place that only the converter knows

    def _known(self, number: int) -> dict[str, Json]:
        """The values of the fields that a rule of one administration may refer to."""
        return {rule.name: value for rule in self.mapping.fields if (value := _value(self.record, rule, number)) is not None}

    def _shown(self, source: Plain, number: int) -> str:
        """A place as it stands in the file: a keyword of an item is written from its sequence on."""
        text, repeated = source_text(source), self.mapping.repeated
        if isinstance(source, ItemPath) and isinstance(source.path, DicomPath) and isinstance(repeated, DicomPath):
            return f"{repeated.text}[{number}].{text}"
        return text


def _read(reading: Reading, source: Source) -> Element | str | None:
    try:
        return reading.element(source)
    except Invalid as error:
        return f"(unreadable: it {error})"


def source_text(source: Plain) -> str:
    """A source as the record names it."""
    if isinstance(source, FieldRef | ArrivalFact):
        return f"arrival {source.name}" if isinstance(source, ArrivalFact) else source.name
    kind = {FramePath: "frame ", MetaPath: "meta "}.get(type(source), "")
    return f"{kind}{source.path.text}"


def _field_name(path: str, mapping: Mapping) -> str | None:
    path = path.replace("series.instances.", "instance.") if path.startswith("series.instances.") else path
    path = _GATHERED.get(path, path)
    names = (rule.name for rule in mapping.fields)
    fitting = [name for name in names if path == name or path.startswith(f"{name}.") or path == f"{name}_repaired"]
    return max(fitting, key=len, default=None)


def _value(record: Record, rule: FieldRule | str, number: int) -> Json:
    name = rule if isinstance(rule, str) else rule.name
    level, *keys = name.split(".")
    shared = record.shared
    if level == REPEATED:
        value: Json = shared.administrations[number] if number < len(shared.administrations) else {}
    else:
        value = record.instance if level == "instance" else getattr(shared, level)
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _conversion(rule: FieldRule) -> str:
    options = rule.options
    words = {
        "codes": options.table,
        "in": options.unit_in,
        "out": options.unit_out,
        "need": None if rule.need == "may" else rule.need,
    }
    told = [rule.converter.name, *(f"{key}: {word}" for key, word in words.items() if word)]
    told += [f"range: {rule.range[0]:f} to {rule.range[1]:f}"] if rule.range else []
    return ", ".join([*told, *(["only under a condition"] if rule.when else [])])


def _is_of(issue: str, name: str) -> bool:
    return issue == name or issue.startswith(f"{name}.") or issue.startswith(f"{name}[")
