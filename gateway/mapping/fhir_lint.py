"""The FHIR check of every resource of a directory of mappings: each template once for each set of things its holes may bring."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from gateway.mapping.compile import read_resource
from gateway.mapping.complaints import Complaint
from gateway.mapping.fhir_check import Finding, Hole, check_template
from gateway.mapping.files import Effective
from gateway.mapping.rules import Mapping
from gateway.mapping.scopes import TEMPLATE_LEVELS, hole_at, readable
from gateway.mapping.template import ResourceTemplate
from gateway.yamlfile import Place

#: Resources that a template may refer to although its own mapping does not make them.
_ALWAYS = {"patient": "Patient", "study": "ImagingStudy", "device": "Device"}


def check_resources(effective: Iterable[Effective], mappings: Sequence[Mapping]) -> Iterable[tuple[Complaint, bool]]:
    """What FHIR R4 says against the templates, each with ``True`` when it is only a warning.

    An inherited template is checked again where an overlay makes a field bring something else.
    """
    done: dict[object, list[Finding]] = {}
    named = {base.name: base for base in mappings}
    for one, mapping in zip(effective, mappings, strict=True):
        levels = {level: readable(mapping, level) for level in TEMPLATE_LEVELS}
        types = _ALWAYS | {name: resource.resource_type for name, resource in mapping.resources.items()}
        partial = partial_resources(one, mapping, mappings)
        for name, resource in {**mapping.resources, **partial}.items():
            piece = one.resources[name]
            holes: dict[Place, Hole] = {place: hole_at(path, resource.per, levels) for place, path in resource.body.paths}
            targets = {wanted: types[wanted] for _, wanted in resource.body.references if wanted in types}
            key = (piece.origin.document.name, piece.origin.place, *holes.values(), *targets.values())
            if key not in done:
                node = {"resourceType": resource.resource_type, **piece.node}
                found = check_template(node, holes, targets)
                in_part = name in partial and _written_again(one, name, named)
                done[key] = [finding for finding in found if not in_part or not finding.lacks]
            inherited = piece.origin.document is not one.document
            heir = f" (in mapping '{one.name}')" if inherited else ""
            for finding in done[key]:
                known = inherited and _told_at_home(finding, piece.origin.document.name, piece.origin.place, done)
                yield piece.origin.complain(f"{finding.text}{'' if known else heir}", *finding.place), finding.warning


def partial_resources(one: Effective, mapping: Mapping, mappings: Iterable[Mapping]) -> dict[str, ResourceTemplate]:
    """Resources without all that one needs (a complaint of its own): what stands in them is checked all the same.

    One that is written again as the resource it was meant to change, of the nearest base that has one of its name.
    """
    found: dict[str, ResourceTemplate] = {}
    named = {base.name: base for base in mappings}
    for name, piece in one.resources.items():
        if name in mapping.resources or not isinstance(piece.node, dict):
            continue
        base = _written_again(one, name, named)
        made = read_resource(name, piece, [])
        if base is not None:
            found[name] = dataclasses.replace(base, identity=(), body=made.body)
        elif "resourceType" in piece.node:
            found[name] = made
    return found


def _written_again(one: Effective, name: str, named: dict[str, Mapping]) -> ResourceTemplate | None:
    """The resource of that name of the nearest base."""
    return next((named[base].resources[name] for base in reversed(one.lineage[:-1]) if name in named[base].resources), None)


def _told_at_home(finding: Finding, document: str, place: Place, done: dict[object, list[Finding]]) -> bool:
    """True when the first mapping that uses the template, mostly its own, was told the same."""
    first = next(found for key, found in done.items() if isinstance(key, tuple) and key[:2] == (document, place))
    return finding in first
