"""Says whether a resource is good FHIR R4: the strict schema first, then the named invariants. Pure; quotes no values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any

import jsonschema_rs

from gateway.r4 import definitions
from gateway.r4.invariants import Place, broken_invariants
from gateway.r4.units import UCUM_CODES

_MAX_COMPLAINTS = 50


def validate(resource: Mapping[str, Any], *, more_units: Collection[str] = ()) -> list[str]:
    """Every complaint as ``Observation.component[0].code: is missing``; an empty list means valid.

    ``more_units`` are UCUM codes allowed beside :data:`gateway.r4.units.UCUM_CODES`.
    """
    kind = resource.get("resourceType")
    if not isinstance(kind, str) or kind not in definitions.resource_types():
        return ["resourceType: is missing, or a type this gateway does not know"]
    complaints: list[str] = []
    for error in _validator(kind).iter_errors(resource):
        complaints += [f"{_path(kind, place)}: {message}" for place, message in _explain(error)]
        if len(complaints) >= _MAX_COMPLAINTS:
            break
    if complaints:  # the invariants may rely on the shape
        return list(dict.fromkeys(complaints))
    units = UCUM_CODES.union(more_units) if more_units else UCUM_CODES
    return [f"{_path(kind, place)}: {message}" for place, message in broken_invariants(resource, units=units)]


@lru_cache(maxsize=64)
def _validator(kind: str) -> jsonschema_rs.Draft202012Validator:
    root = {"$ref": f"#/$defs/{kind}", "$defs": definitions.schema()["$defs"]}
    # The linear engine: a hostile text cannot make a pattern slow.
    return jsonschema_rs.Draft202012Validator(root, pattern_options=jsonschema_rs.RegexOptions())


def _path(kind: str, place: Place) -> str:
    """``Observation.component[0].code``, as FHIRPath writes it."""
    return kind + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)


def _explain(error: jsonschema_rs.ValidationError) -> Iterator[tuple[Place, str]]:
    detail = error.kind.as_dict()
    place: Place = tuple(error.instance_path)
    match error.kind.name:
        case "required":
            yield (*place, detail["property"]), "is missing"
        case "additionalProperties":
            for name in detail["unexpected"]:
                yield (*place, name), "is not an element of this type"
        case "anyOf" if error.schema_path and "items" not in error.schema_path[-2:]:
            yield place, _one_of_missing(error)
        case name:
            yield place, _SENTENCES.get(name, f"breaks the schema rule '{name}'").format(**_facts(detail))


def _one_of_missing(error: jsonschema_rs.ValidationError) -> str:
    """The only ``anyOf`` on an object: a required primitive, which may be there as itself or as its ``_x`` sibling."""
    names = [
        inner.kind.as_dict()["property"]
        for branch in error.kind.as_dict().get("context", ())
        for inner in branch
        if isinstance(inner, jsonschema_rs.ValidationError) and inner.kind.name == "required"
    ]
    return f"{names[0]} is missing" if names else "a required element is missing"


def _facts(detail: Mapping[str, Any]) -> dict[str, Any]:
    """What a sentence may mention: facts of the schema, never the value."""
    types = detail.get("types")
    options = detail.get("options")
    return {
        "types": " or ".join(types) if isinstance(types, list) else types,
        "limit": detail.get("limit"),
        "options": ", ".join(str(option) for option in options[:12]) if isinstance(options, list) else "",
    }


_SENTENCES = {
    "type": "must be of JSON type {types}",
    "anyOf": "has the wrong form",
    "const": "is not the expected value",
    "enum": "is not one of the codes allowed here ({options})",
    "minItems": "is an empty list",
    "minProperties": "is an empty object",
    "minimum": "is below {limit}",
    "maximum": "is above {limit}",
    "pattern": "does not have the form its type requires",
}
