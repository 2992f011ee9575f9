"""What ``isobridge mappings explain`` tells of one file, as data; what of it was asked for; and as lines for the terminal."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.mapping.rules import LEVELS
from gateway.model import Json, JsonObject
from gateway.normalise.coerce import Change
from gateway.r4 import definitions

INDEX = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """One place that a rule reads, and what stands there in this file."""

    path: str  #: a DICOM path, SR concept names, or the name of another field
    words: str  #: as the value stands in the file; empty when it is absent
    used: bool  #: the value was taken from here

    def as_json(self) -> JsonObject:
        return {"path": self.path, "value": self.words, "used": self.used}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """One element of the FHIR that comes out, and the line of the template that put it there."""

    element: str  #: ``MedicationAdministration.dosage.dose.value``
    value: Json
    line: str  #: ``administration.yaml:71``
    conditions: tuple[str, ...] = ()

    def as_json(self) -> JsonObject:
        return {"element": self.element, "value": self.value, "line": self.line, "conditions": list(self.conditions)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One field of the mapping in force: read from where, by which rule, what it became, where it went."""

    name: str  #: ``administration[1].activity`` when the object holds several
    value: Json  #: None: absent or withheld
    origins: tuple[Origin, ...]
    rule: str  #: ``pet_common.yaml:43``
    conversion: str  #: ``activity, in: Bq, out: MBq``
    issues: tuple[str, ...]
    elements: tuple[Filled, ...]
    could_fill: tuple[str, ...]  #: elements that the templates would fill, were there a value
    at: str = ""  #: of a member of a result: the place in the file, from its top on

    def as_json(self) -> JsonObject:
        return {
            "field": self.name,
            "value": self.value,
            "from": [origin.as_json() for origin in self.origins],
            "rule": self.rule,
            "conversion": self.conversion,
            "issues": list(self.issues),
            "elements": [filled.as_json() for filled in self.elements],
            "could_fill": list(self.could_fill),
            **({"at": self.at} if self.at else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """All of one file."""

    path: Path
    mapping: str
    version: str
    fields: tuple[Explained, ...]
    written: tuple[Filled, ...]  #: elements that stand in the mapping itself, or are made by the gateway: ids, references, counts
    issues: tuple[str, ...]  #: of the object as a whole
    changes: tuple[Change, ...] = ()  #: of the normalised DICOM, for targets that ask for it

    def as_json(self) -> JsonObject:
        return {
            "path": str(self.path),
            "mapping": f"{self.mapping}@{self.version}",
            "fields": [one.as_json() for one in self.fields],
            "written": [one.as_json() for one in self.written],
            "issues": list(self.issues),
            "dicom": [{"path": c.path, "before": c.before, "after": c.after, "rule": c.rule} for c in self.changes],
        }

    def narrowed(self, words: str) -> Explanation:
        """Only what concerns a FHIR path, a field or a DICOM keyword; indexes and case do not matter."""
        fields = []
        for one in self.fields:
            near = tuple(filled for filled in one.elements if _below(filled.element, words))
            told = _below(one.name, words) or any(_names(origin.path, words) for origin in one.origins)
            could = any(_below(element, words) for element in one.could_fill)
            inside = [element for element in one.could_fill if _below(words, element)]  # a leaf of what the hole would bring
            if told or near or could:
                fields.append(one if told else dataclasses.replace(one, elements=near))
            elif inside and not one.elements and is_fhir(words):
                fields.append(dataclasses.replace(one, elements=near, could_fill=(words,)))
        written = tuple(filled for filled in self.written if _below(filled.element, words))
        changes = tuple(change for change in self.changes if _names(change.path, words))
        return dataclasses.replace(self, fields=tuple(fields), written=written, changes=changes)

    def known_names(self) -> set[str]:
        """What :meth:`narrowed` understands here."""
        elements = [*self.written, *(filled for one in self.fields for filled in one.elements)]
        names = {INDEX.sub("", filled.element) for filled in elements}
        names |= {step for one in self.fields for origin in one.origins for step in INDEX.sub("", origin.path).split(".")}
        return names | {one.name for one in self.fields} | {element for one in self.fields for element in one.could_fill}


def explain_lines(explanation: Explanation, *, everything: bool = False) -> Iterator[str]:
    """For the terminal. ``everything``: also fields that are absent, and all places that a rule tried."""
    yield f"{explanation.path}: mapping {explanation.mapping}@{explanation.version}"
    for one in explanation.fields:
        if one.value is None and not one.issues and not everything:
            continue
        yield ""
        yield from _field_lines(one, everything)
    if explanation.written:
        yield ""
        yield "written in the mapping, or made by the gateway:"
        yield from (f"  {filled.element} = {value_text(filled.value)}    [{filled.line}]" for filled in explanation.written)
    if explanation.changes:
        yield ""
        yield "normalised DICOM, for targets with 'send: normalised':"
        for change in explanation.changes:
            yield f"  {change.path}: {_quoted(change.before)} -> {_quoted(change.after)}    [{change.rule}]"
    if explanation.issues:
        yield ""
        yield from explanation.issues


def _field_lines(one: Explained, everything: bool) -> Iterator[str]:
    for filled in one.elements:
        condition = f"  ({'; '.join(filled.conditions)})" if filled.conditions else ""
        yield f"{filled.element} = {value_text(filled.value)}    [{filled.line}]{condition}"
    if not one.elements:
        places = ", ".join(one.could_fill) or "no FHIR element"
        yield f"{places}: not filled, because {_why_not(one)}"
    yield f"  field  {one.name} {'has no value' if one.value is None else '= ' + value_text(one.value)}"
    shown = [origin for origin in one.origins if origin.used or everything or one.value is None]
    for origin in shown:
        mark = "  (not taken)" if origin.words and not origin.used and one.value is not None else ""
        place = one.at if one.at and origin.used else origin.path
        yield f"  from   {place} {'= ' + origin.words if origin.words else 'is absent'}{mark}"
    yield f"  rule   {one.rule}  as {one.conversion}"
    yield from (f"  issue  {issue}" for issue in one.issues)


def _why_not(one: Explained) -> str:
    if not one.could_fill:
        return "no line of a resource names the field"
    if one.value is not None:
        return "a condition of the line, or of the resource around it, does not hold here"
    if one.issues and any(origin.words for origin in one.origins if origin.path.partition(".")[0] not in LEVELS):
        return "the value is withheld or cannot be read (see issue)"
    return "the field has no value in this file"


def is_fhir(path: str) -> bool:
    """Whether a path with its resource type in front names an element of FHIR R4: ``Observation.valueQuantity.value``."""
    kind, *steps = INDEX.sub("", path).split(".")
    for step in steps:
        elements = definitions.elements().get(kind)
        keys = {key: type_ for element in (elements or {}).values() for key, type_ in element.keys().items()}
        if step not in keys:
            return False
        kind = keys[step]
    return bool(steps)


def _quoted(text: str) -> str:
    return f'"{text}"' if text else "nothing"


def value_text(value: Json) -> str:
    if isinstance(value, dict):
        if value.keys() == {"value", "unit"}:
            return f"{value['value']} {value['unit']}"
        if value.keys() == {"system", "code", "text"}:
            return f"{value['text']} ({value['system']} {value['code']})"
        return ", ".join(f"{key}: {value_text(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return "; ".join(value_text(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _below(name: str, words: str) -> bool:
    """Whether steps that were asked for stand in a path, one after the other: ``dosage.dose`` in what is below it, too."""
    name, words = (INDEX.sub("", text).casefold() for text in (name, words))
    return f".{words}." in f".{name}."


def _names(path: str, words: str) -> bool:
    """Whether a DICOM path has a keyword, or is what was asked for."""
    bare, wanted = INDEX.sub("", path).casefold(), INDEX.sub("", words).casefold()
    return bare == wanted or wanted in bare.split(".") or bare.startswith(f"{wanted}.")
