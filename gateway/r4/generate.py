"""Writes ``elements.json``, ``schema.json``, ``search_params.json`` and ``base_snapshots.json`` from the official R4 definitions.

Run by hand::

    python -m gateway.r4.generate --definitions DIR --search-definitions DIR

``--definitions`` holds one StructureDefinition per JSON file; ``--search-definitions`` holds the bundles
``valuesets.json``, ``v2-tables.json``, ``v3-codesystems.json`` and ``search-parameters.json`` of the same edition. The
output depends on nothing else.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any

from gateway.r4.definitions import elements_from
from gateway.r4.generate_schema import Primitive, build_schema
from gateway.r4.generate_search import build_search

EDITION = "FHIR R4 (4.0.1)"
LICENCE = "HL7 FHIR definitions, CC0-1.0"

_RESOURCES = """
AuditEvent Binary BodyStructure Bundle CapabilityStatement CodeSystem Composition Condition Device DiagnosticReport
DocumentReference Encounter Endpoint Group ImagingStudy List Location Medication MedicationAdministration Observation
OperationOutcome Organization Patient Practitioner PractitionerRole Procedure Provenance SearchParameter ServiceRequest
Specimen StructureDefinition Substance ValueSet
"""
RESOURCES = tuple(_RESOURCES.split())

_FHIR_TYPE = "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type"
_REGEX = "http://hl7.org/fhir/StructureDefinition/regex"
_CORE = "http://hl7.org/fhir/StructureDefinition/"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--definitions", type=FilePath, required=True)
    parser.add_argument("--search-definitions", type=FilePath, required=True)
    parser.add_argument("--output", type=FilePath, default=FilePath(__file__).parent)
    options = parser.parse_args()
    structures = read_structures(options.definitions)
    search = options.search_definitions
    terminology = [
        resource
        for name in ("valuesets.json", "v2-tables.json", "v3-codesystems.json")
        for resource in read_bundle(search / name)
    ]
    parameters = read_bundle(search / "search-parameters.json")
    for name, tree in generate(structures, terminology, parameters).items():
        (options.output / name).write_text(render(tree), encoding="utf-8")


def read_structures(directory: FilePath) -> dict[str, Mapping[str, Any]]:
    """Type name -> StructureDefinition; constraining profiles are left out."""
    found: dict[str, Mapping[str, Any]] = {}
    for path in sorted(directory.glob("*.json")):
        resource = json.loads(path.read_text(encoding="utf-8"))
        if resource.get("resourceType") != "StructureDefinition" or resource.get("derivation") == "constraint":
            continue
        if resource["fhirVersion"] != "4.0.1":
            raise SystemExit(f"{path.name}: edition {resource['fhirVersion']}, but 4.0.1 is needed")
        found[resource["type"]] = resource
    return found


def read_bundle(path: FilePath) -> list[Mapping[str, Any]]:
    return [entry["resource"] for entry in json.loads(path.read_text(encoding="utf-8"))["entry"]]


def generate(
    structures: Mapping[str, Mapping[str, Any]],
    terminology: Iterable[Mapping[str, Any]],
    parameters: Iterable[Mapping[str, Any]],
) -> dict[str, Any]:
    """File name -> content of the three generated files."""
    types, bindings = read_types(structures)
    header = {"edition": EDITION, "source": LICENCE, "generator": "gateway.r4.generate; do not edit"}
    elements = elements_from(types)
    primitives = [_primitive(structure) for structure in structures.values() if structure["kind"] == "primitive-type"]
    schema = build_schema(elements, bindings, primitives, RESOURCES, terminology)
    search = build_search(parameters, RESOURCES, elements)
    return {
        "elements.json": {**header, "types": types},
        "schema.json": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$comment": "; ".join(header.values()),
            **schema,
        },
        "search_params.json": {**header, "types": search},
        "base_snapshots.json": {**header, "types": base_snapshots(structures)},
    }


#: What our profiles constrain, and the types that they look into.
_BASES = ("CodeableConcept", "Coding", "Extension", "Observation")
#: What a snapshot needs to be judged by. Explanations stand in the specification.
_KEPT = frozenset(
    (
        *("id", "path", "representation", "short", "definition", "min", "max", "base", "contentReference", "type"),
        *("meaningWhenMissing", "condition", "constraint", "isModifier", "isModifierReason", "isSummary", "binding"),
    )
)


def base_snapshots(structures: Mapping[str, Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Type -> the elements of its snapshot, without comments, aliases, XPath and mappings to other standards."""
    return {name: [_kept(element) for element in structures[name]["snapshot"]["element"]] for name in _BASES}


def _kept(element: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in element.items() if name in _KEPT}
    if "constraint" in kept:
        kept["constraint"] = [{name: value for name, value in one.items() if name != "xpath"} for one in kept["constraint"]]
    return kept


def read_types(structures: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], dict[tuple[str, str], str]]:
    """Every type that can be reached from the resources we know; and the required bindings as (type, element) -> value set."""
    types: dict[str, Any] = {}
    bindings: dict[tuple[str, str], str] = {}
    waiting = [*RESOURCES, "Element"]
    while waiting:
        name = waiting.pop(0)
        structure = structures.get(name)
        if structure is None or structure["kind"] == "primitive-type" or name in types or name == "Resource":
            continue
        rows = structure["snapshot"]["element"]
        backbones = {row["path"] for row in rows if any(other["path"].startswith(row["path"] + ".") for other in rows)}
        kind = structure["kind"] if structure["kind"] == "resource" else "type"
        for backbone in (row["path"] for row in rows if row["path"] in backbones):
            types[backbone] = {"kind": kind if backbone == name else "backbone", "elements": {}}
        for row in rows[1:]:
            parent, _, element = row["path"].rpartition(".")
            entry = _row(row, backbones)
            types[parent]["elements"][element] = entry
            waiting.extend(kind for kind in entry["types"] if kind not in types)
            if row.get("binding", {}).get("strength") == "required" and "valueSet" in row["binding"]:
                bindings[parent, element] = row["binding"]["valueSet"].split("|")[0]
    return dict(sorted(types.items())), bindings


def _row(row: Mapping[str, Any], backbones: set[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"types": _types_of(row, backbones)}
    if row["min"]:
        entry["min"] = row["min"]
    if row["max"] != "1":
        entry["many"] = True
    if row.get("isSummary"):
        entry["summary"] = True
    targets = [
        url.removeprefix(_CORE)
        for kind in row.get("type", ())
        if kind["code"] == "Reference"
        for url in kind.get("targetProfile", ())
    ]
    if targets and "Resource" not in targets:
        entry["targets"] = sorted(set(targets))
    return entry


def _types_of(row: Mapping[str, Any], backbones: set[str]) -> list[str]:
    if reference := row.get("contentReference"):
        return [reference.lstrip("#")]
    if row["path"] in backbones:
        return [row["path"]]
    if row["path"].count(".") == 1 and row["path"].endswith(".id") and row.get("base", {}).get("path") == "Resource.id":
        return ["id"]  # R4 publishes "string" here; its own text says id
    return [_fhir_type(kind) for kind in row["type"]]


def _fhir_type(kind: Mapping[str, Any]) -> str:
    for extension in kind.get("extension", ()):
        if extension["url"] == _FHIR_TYPE:
            return str(extension["valueUrl"])
    return str(kind["code"])


def _primitive(structure: Mapping[str, Any]) -> Primitive:
    value = next(row for row in structure["snapshot"]["element"] if row["path"].endswith(".value"))
    extensions = value["type"][0].get("extension", ())
    return Primitive(structure["type"], next((e["valueString"] for e in extensions if e["url"] == _REGEX), None))


def render(tree: Any) -> str:
    """One line per member of the two outer levels: small, and a diff shows which type changed."""
    lines = []
    for key, value in tree.items():
        if isinstance(value, dict) and key in ("types", "$defs"):
            inner = ",\n".join(f"{json.dumps(name)}:{_compact(entry)}" for name, entry in value.items())
            lines.append(f"{json.dumps(key)}:{{\n{inner}\n}}")
        else:
            lines.append(f"{json.dumps(key)}:{_compact(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


if __name__ == "__main__":
    main()
