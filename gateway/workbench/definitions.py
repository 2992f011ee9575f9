"""Our published FHIR definitions, made of the tables that the code works by: StructureDefinition, CodeSystem, ValueSet, ConceptMap,
SearchParameter (R4 profiling.html, codesystem.html, valueset.html, conceptmap.html, searchparameter.html).

``python -m gateway.workbench.definitions`` (``make profiles``) writes them to ``gateway/r4/conformance``, and their guide pages to
``docs/profiles``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from gateway.fhir.profiles import PROFILES, VERSION
from gateway.fhir.shape import UCUM, Element, Part, Profile, Rule
from gateway.gather.suv import REASONS, WORDS
from gateway.model import JsonObject
from gateway.nuclear.results import CANONICAL, CODE_SYSTEM, KINDS
from gateway.nuclear.terms import COMPONENTS
from gateway.nuclear.terms import WORDS as TERM_WORDS
from gateway.r4.definitions import own_search_parameters
from gateway.workbench.snapshots import snapshot

FOLDER = Path(__file__).parent.parent / "r4" / "conformance"
DATE = "2026-11-23"
_HL7 = "http://hl7.org/fhir/StructureDefinition"


def definitions() -> list[JsonObject]:
    """Everything that we publish, by type and id."""
    made = [structure_definition(profile) for profile in PROFILES.values()]
    made += [_code_system(), _suv_reasons(), *_value_sets(), _concept_map(), *_search_parameters(), *_extensions()]
    return sorted(made, key=lambda one: (one["resourceType"], one["id"]))


def _head(kind: str, name: str, title: str, description: str) -> JsonObject:
    """What all of them tell about themselves. Name: R4's name invariant wants a programming name."""
    words = "".join(word[:1].upper() + word[1:] for word in name.replace("_", "-").split("-"))
    return {
        "resourceType": kind,
        "id": name,
        "url": f"{CANONICAL}/{kind}/{name}",
        "version": VERSION,
        "name": words,
        "title": title,
        "status": "active",
        "experimental": False,
        "date": DATE,
        "publisher": "Isobridge",
        "description": description,
    }


def structure_definition(profile: Profile) -> JsonObject:
    """A profile of Observation as its differential."""
    head = _head("StructureDefinition", profile.name, profile.title, profile.purpose)
    return {
        **head,
        "fhirVersion": "4.0.1",
        "kind": "resource",
        "abstract": False,
        "type": "Observation",
        "baseDefinition": f"{_HL7}/Observation",
        "derivation": "constraint",
        **_elements("Observation", list(_differential(profile))),
    }


def _elements(base: str, differential: list[JsonObject]) -> JsonObject:
    return {"snapshot": {"element": snapshot(base, differential)}, "differential": {"element": differential}}


def _element(identifier: str, **more: Any) -> JsonObject:
    path = ".".join(step.partition(":")[0] for step in identifier.split("."))
    return {"id": identifier, "path": path, **more}


def _differential(profile: Profile) -> Iterable[JsonObject]:
    root = _element("Observation", short=profile.title, definition=profile.purpose)
    rules = [*profile.rules]
    if len(profile.units) > 1:
        rules.append(_units_rule(profile.units))
    if rules:
        root["constraint"] = [_constraint(rule, profile) for rule in rules]
    yield root
    yield from _in_order(profile)
    if profile.parts:
        slicing = {"discriminator": [{"type": "pattern", "path": "code"}], "rules": "open", "ordered": False}
        yield _element("Observation.component", slicing=slicing)
        for part in profile.parts:
            yield from _component(part)


def _units_rule(units: tuple[str, ...]) -> Rule:
    words = " or ".join(f"value.code = '{unit}'" for unit in units)
    return Rule(
        key="nm-unit",
        human=f"The unit is one of {', '.join(units)}",
        expression=f"value.exists() implies ({words})",
        holds=lambda _: True,
    )


def _constraint(rule: Rule, profile: Profile) -> JsonObject:
    return {
        "key": rule.key,
        "severity": "error",
        "human": rule.human,
        "expression": rule.expression,
        "source": profile.url,
    }


#: The order of Observation's elements in R4.
_ORDER = ("identifier", "partOf", "code", "subject", "effective[x]", "value[x]", "bodySite", "hasMember")


def _in_order(profile: Profile) -> Iterable[JsonObject]:
    named = {element.name: element for element in profile.elements}
    for name in _ORDER:
        if name == "code":
            yield from _code(profile)
        elif name == "value[x]":
            yield _value(profile)
        elif name in named:
            yield from _plain(named[name])


def _plain(element: Element) -> Iterable[JsonObject]:
    place = f"Observation.{element.name}"
    told = {"short": element.short, "min": element.minimum, "mustSupport": True}
    if element.name == "effective[x]":
        yield _element(place, **told, type=[{"code": "dateTime"}])
    elif element.name == "partOf" and element.targets:
        slicing = {"discriminator": [{"type": "type", "path": "resolve()"}], "rules": "open", "ordered": False}
        yield _element(place, slicing=slicing, min=element.minimum)
        name = element.targets[0][0].lower() + element.targets[0][1:]
        yield _element(f"{place}:{name}", sliceName=name, **told, max=element.maximum, type=[_reference(element.targets)])
    elif element.targets:
        yield _element(place, **told, type=[_reference(element.targets)])
    else:
        yield _element(place, **told)


def _reference(targets: tuple[str, ...]) -> JsonObject:
    return {"code": "Reference", "targetProfile": [f"{_HL7}/{target}" for target in targets]}


def _code(profile: Profile) -> Iterable[JsonObject]:
    """The code of the kind is one of several codings: official ones stand beside ours."""
    if len(profile.codes) == 1:
        system, code = profile.codes[0]
        yield _element(
            "Observation.code", mustSupport=True, patternCodeableConcept={"coding": [{"system": system, "code": code}]}
        )
        return
    slicing = {"discriminator": [{"type": "value", "path": "system"}], "rules": "open", "ordered": False}
    yield _element("Observation.code", mustSupport=True)
    yield _element("Observation.code.coding", slicing=slicing, min=1)
    yield _element(
        "Observation.code.coding:kind",
        sliceName="kind",
        min=1,
        max="1",
        binding={"strength": "required", "valueSet": f"{CANONICAL}/ValueSet/{profile.name}-kinds"},
    )
    yield _element("Observation.code.coding:kind.system", min=1, fixedUri=CODE_SYSTEM)


def _value(profile: Profile) -> JsonObject:
    value = _element("Observation.value[x]", mustSupport=True, type=[{"code": kind} for kind in profile.value])
    if profile.units:
        unit = {"code": profile.units[0]} if len(profile.units) == 1 else {}
        value["patternQuantity"] = {"system": UCUM, **unit}
    return value


def _component(part: Part) -> Iterable[JsonObject]:
    place = f"Observation.component:{part.name}"
    system, code = part.code
    yield _element(
        place, sliceName=part.name, short=part.title, min=part.minimum, max="*" if part.many else "1", mustSupport=True
    )
    if part.timed:
        slicing = {"discriminator": [{"type": "value", "path": "url"}], "rules": "open", "ordered": False}
        profile = [f"{_HL7}/observation-timeOffset"]
        yield _element(f"{place}.extension", slicing=slicing, min=1)
        yield _element(
            f"{place}.extension:timeOffset",
            sliceName="timeOffset",
            min=1,
            max="1",
            type=[{"code": "Extension", "profile": profile}],
        )
    yield _element(f"{place}.code", patternCodeableConcept={"coding": [{"system": system, "code": code}]})
    value: JsonObject = {"type": [{"code": part.kind}]}
    if not part.absent:
        value["min"] = 1
    if part.values:
        value["binding"] = {"strength": "required", "valueSet": f"{CANONICAL}/ValueSet/{part.values}"}
    yield _element(f"{place}.value[x]", **value)


def _code_system() -> JsonObject:
    words = {**{kind.name: kind.title for kind in KINDS.values()}, **COMPONENTS, **TERM_WORDS}
    head = _head(
        "CodeSystem",
        "nm-dosimetry",
        "Dosimetry in nuclear medicine",
        "What DICOM, SNOMED CT and LOINC have no code for, or none alone.",
    )
    return _concepts(head, words)


def _suv_reasons() -> JsonObject:
    head = _head("CodeSystem", "nm-suv-reason", "Why there is no SUV factor", "Reasons why voxels cannot be made uptake values.")
    assert head["url"] == REASONS  # noqa: S101 -- two constants that must be one
    return _concepts(head, {str(reason): words[:1].upper() + words[1:] for reason, words in WORDS.items()})


def _concepts(head: JsonObject, words: dict[str, str]) -> JsonObject:
    concepts = [{"code": code, "display": title} for code, title in sorted(words.items())]
    values = {"valueSet": f"{CANONICAL}/ValueSet/{head['id']}"}
    return {**head, "caseSensitive": True, **values, "content": "complete", "count": len(concepts), "concept": concepts}


def _value_sets() -> Iterable[JsonObject]:
    yield _value_set("nm-dosimetry", "All codes of dosimetry", CODE_SYSTEM)
    yield _value_set("nm-suv-reason", "All reasons why there is no SUV factor", REASONS)
    yield _value_set("nm-dosimetry-kinds", "Kinds of results", CODE_SYSTEM, tuple(KINDS))
    yield _value_set("nm-intent", "Intent of a dose", CODE_SYSTEM, ("predicted", "verified"))
    targets = ("whole-organ", "lesion", "treated-volume", "dose-volume-cut")
    yield _value_set("nm-target-definition", "What the region of a dose is", CODE_SYSTEM, targets)
    for profile in PROFILES.values():
        if len(profile.codes) > 1:
            codes = tuple(code for _, code in profile.codes)
            yield _value_set(f"{profile.name}-kinds", f"Kinds of: {profile.title}", CODE_SYSTEM, codes)


def _value_set(name: str, title: str, system: str, codes: tuple[str, ...] = ()) -> JsonObject:
    include: JsonObject = {"system": system}
    if codes:
        include["concept"] = [{"code": code} for code in codes]
    return {**_head("ValueSet", name, title, title + "."), "compose": {"include": [include]}}


def _concept_map() -> JsonObject:
    """Kinds to official codes where one means the same. DICOM's is wider where it does not say whose or which statistic."""
    head = _head(
        "ConceptMap", "nm-dosimetry-official", "Kinds of results in official codes", "Our kinds beside codes of DICOM and LOINC."
    )
    targets: dict[str, list[JsonObject]] = {}
    for kind in KINDS.values():
        for system, code in kind.codings:
            told = {"code": kind.name, "target": [{"code": code, "equivalence": "equivalent"}]}
            targets.setdefault(system, []).append(told)
    groups = [{"source": CODE_SYSTEM, "target": system, "element": told} for system, told in sorted(targets.items())]
    return {**head, "sourceUri": f"{CANONICAL}/ValueSet/nm-dosimetry-kinds", "group": groups}


def _search_parameters() -> Iterable[JsonObject]:
    """Searches that R4 has no parameter for; our store answers them (``r4/own_search_parameters.json``)."""
    for told in own_search_parameters().values():
        head = _head("SearchParameter", told["id"], "", told["description"])
        del head["title"]
        yield {**head, **told}


def _extensions() -> Iterable[JsonObject]:
    yield _extension("stated-quantity", "Quantity", "Quantity", "The number and unit as the source states them.")
    yield _extension(
        "source-path", "Observation", "string", "Where a value was read: the item of the report, the cell of the table."
    )
    yield _extension("remark", "DiagnosticReport", "string", "What a reader must know of a document, such as what is withheld.")


def _extension(name: str, context: str, kind: str, description: str) -> JsonObject:
    url = f"{CANONICAL}/StructureDefinition/{name}"
    elements = [
        _element("Extension", short=description, max="*" if name == "remark" else "1"),
        _element("Extension.extension", max="0"),
        _element("Extension.url", fixedUri=url),
        _element("Extension.value[x]", min=1, type=[{"code": kind}]),
    ]
    return {
        **_head("StructureDefinition", name, name.replace("-", " ").capitalize(), description),
        "fhirVersion": "4.0.1",
        "kind": "complex-type",
        "abstract": False,
        "context": [{"type": "element", "expression": context}],
        "type": "Extension",
        "baseDefinition": f"{_HL7}/Extension",
        "derivation": "constraint",
        **_elements("Extension", elements),
    }


def file_name(resource: JsonObject) -> str:
    return f"{resource['resourceType']}-{resource['id']}.json"


def text_of(resource: JsonObject) -> str:
    """Indented; each element of a snapshot on a line of its own, because nobody edits them and a diff shows which one changed."""
    elements = resource.get("snapshot", {}).get("element")
    if elements is None:
        return _indented(resource)
    lines = ",\n".join(f"      {msgspec.json.encode(element).decode()}" for element in elements)
    shown = _indented({**resource, "snapshot": {"element": [_LINES]}})
    return shown.replace(f'      "{_LINES}"', lines)


#: Stands where the lines of a snapshot go.
_LINES = "lines of the snapshot"


def _indented(resource: JsonObject) -> str:
    return msgspec.json.format(msgspec.json.encode(resource), indent=2).decode() + "\n"


def main(folder: Path = FOLDER) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    made = {file_name(resource): text_of(resource) for resource in definitions()}
    for path in folder.glob("*.json"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
