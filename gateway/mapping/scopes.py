"""What templates can read: the scope of each ``per``, and the FHIR type of what stands at each path of it."""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakKeyDictionary

from gateway.mapping.complaints import nearest
from gateway.mapping.fhir_check import Hole
from gateway.mapping.files import Effective
from gateway.mapping.rules import LEVELS, FieldRule, Mapping
from gateway.nuclear.results import DOCUMENT_MEMBERS, KINDS, MEMBERS

_NAME_PARTS = {"family": Hole("string"), "text": Hole("string")} | dict.fromkeys(
    ("given", "prefix", "suffix"), Hole("string", many=True)
)
_PERSON = {
    "role": Hole("CodeableConcept"),
    "id": Hole("string"),
    "id_issuer": Hole("string"),
    "id_system": Hole("uri"),
    "organization": Hole("string"),
    **{f"name.{name}": hole for name, hole in _NAME_PARTS.items()},
}
#: Of the one study that an act belongs to: its UID and its order.
_ORDERED = {"uid": Hole("string"), "accession": Hole("string"), "accession_issuer": Hole("uri")}
#: What templates can read: the levels of fields, and the result, whose members are fixed.
TEMPLATE_LEVELS = (*LEVELS, "result")
#: What gathering calculates of a PET series (:mod:`gateway.gather.suv`).
_SUV: dict[str, Hole] = {
    "key": Hole("string"),
    "at": Hole("dateTime"),
    "factor": Hole("Quantity"),
    "absent": Hole("code"),
    "voxel_unit": Hole("CodeableConcept"),
    "repaired": Hole("boolean"),
    "discrepancy": Hole("string"),
    "remarks": Hole("string", many=True),
    **{
        f"inputs.{name}": Hole("Quantity")
        for name in ("weight", "size", "activity", "activity_at_reference", "half_life", "uptake_time")
    },
    "inputs.sex": Hole("CodeableConcept"),
    **{f"inputs.{name}": Hole("dateTime") for name in ("injected_at", "reference_at")},
    **{f"inputs.{name}": Hole("string") for name in ("reference_from", "suv_type", "decay_correction")},
    **{
        f"{place}{name}": hole
        for place in ("reasons", "types[].reasons")
        for name, hole in {
            "": Hole("CodeableConcept", many=True),
            "[].system": Hole("uri"),
            "[].code": Hole("code"),
            "[].text": Hole("string"),
        }.items()
    },
    "types": Hole("object", many=True),
    "types[].code": Hole("CodeableConcept"),
    "types[].factor": Hole("Quantity"),
    "types[].absent": Hole("code"),
    "frames": Hole("object", many=True),
    "frames[].acquired_at": Hole("dateTime"),
    "frames[].offset_ms": Hole("integer"),
    "frames[].duration": Hole("Quantity"),
    "frames[].duration.value": Hole("decimal"),
    "frames[].factor": Hole("Quantity"),
}
#: What rendering adds to the fields, for each level: name -> what a hole brings.
PROVIDED: dict[str, dict[str, Hole]] = {
    "patient": {"key": Hole("string")},
    "study": {
        "modalities": Hole("code", many=True),
        "number_of_series": Hole("unsignedInt"),
        "number_of_instances": Hole("unsignedInt"),
        "reference": Hole("string", target="ImagingStudy"),
    },
    "document": {
        "key": Hole("string"),
        "verified": Hole("boolean"),
        "superseded": Hole("boolean"),
        "reference_status": Hole("code"),
        "doc_status": Hole("code"),
        "report_status": Hole("code"),
        "report_code": Hole("CodeableConcept"),
        "section": Hole("code"),
        "effective": Hole("dateTime"),
        "created_instant": Hole("dateTime"),
        "url": Hole("uri"),
        "has_results": Hole("string"),
        "replaces": Hole("object", many=True),
        "replaces[].reference": Hole("string", target="DocumentReference"),
        "remarks": Hole("string", many=True),
        **{f"authorizer.{name}": hole for name, hole in _PERSON.items()},
        "scanner_key": Hole("string"),
        "scanner_ae": Hole("string"),
        "scanner_modality": Hole("code"),
    },
    "result": {
        "key": Hole("string"),
        "status": Hole("code"),
        "kind_code": Hole("CodeableConcept"),
        "category": Hole("code"),
        "remarks": Hole("string", many=True),
        "sources": Hole("object", many=True),
        "sources[].member": Hole("string"),
        "sources[].path": Hole("string"),
        "reference": Hole("string", target="Observation"),
        "structure_key": Hole("string"),
        "ct_summary.of": Hole("string"),
        "ct_summary.text": Hole("string"),
        "ct_summary.study.reference": Hole("string", target="ImagingStudy"),
        "imaging_act.reference": Hole("string", target="ImagingStudy"),
        **{f"imaging_act.{name}": hole for name, hole in _ORDERED.items()},
        **{f"ct_summary.study.{name}": hole for name, hole in _ORDERED.items()},
        "source_path": Hole("string"),
        "effective": Hole("dateTime"),
        "uncertainty_in_unit": Hole("decimal"),
        "fit_r2": Hole("Quantity"),
        "parameter_text": Hole("string"),
        "segment_text": Hole("string"),
        "points[].offset_ms": Hole("integer"),
        "made_of": Hole("object", many=True),
        "made_of[].reference": Hole("string", target="Observation"),
        "parts": Hole("object", many=True),
        "parts[].reference": Hole("string", target="Observation"),
        "missing": Hole("object", many=True),
        "missing[].code": Hole("code"),
        **{f"related.{kind.replace('-', '_')}": Hole("object", many=True) for kind in KINDS},
        **{f"related.{kind.replace('-', '_')}[].reference": Hole("string", target="Observation") for kind in KINDS},
    },
    "series": {
        "number_of_instances": Hole("unsignedInt"),
        "instances": Hole("object", many=True),
        "suv": Hole("object"),
        **{f"suv.{name}": hole for name, hole in _SUV.items()},
    },
    "device": {"key": Hole("string")},
    "instance": {},
    "administration": {
        "key": Hole("string"),
        "event_uids": Hole("string", many=True),
        "reconciled": Hole("boolean"),
        "observation_status": Hole("code"),
        "activity_absent": Hole("code"),
        "start_absent": Hole("code"),
        "site_coded": Hole("CodeableConcept"),
        "lot": Hole("string"),
        "measured_before_offset_ms": Hole("integer"),
        "measured_after_offset_ms": Hole("integer"),
        **{f"performer.{name}": hole for name, hole in _PERSON.items()},
        **{f"others[].{name}": hole for name, hole in _PERSON.items()},
        "others": Hole("object", many=True),
        "remarks": Hole("string", many=True),
        "summary.of": Hole("string"),
        "summary.text": Hole("string"),
        **{f"authorizer.{name}": hole for name, hole in _PERSON.items()},
        "study.reference": Hole("string", target="ImagingStudy"),
        **{f"study.{name}": hole for name, hole in _ORDERED.items()},
        "document_uids": Hole("string", many=True),
        "therapy.course": Hole("string"),
        "therapy.cycle": Hole("integer"),
    },
}
#: What a template may read, by ``per``: name in the scope -> level whose fields stand there.
SCOPES: dict[str, dict[str, str]] = {
    "patient": {"patient": "patient"},
    "study": {"study": "study", "patient": "patient", "series[]": "series", "series[].instances[]": "instance"},
    "device": {"device": "device"},
    "series": {"series": "series", "study": "study", "patient": "patient", "series.instances[]": "instance"},
    "administration": {"administration": "administration", "patient": "patient", "studies[]": "study"},
    "document": {
        "document": "document",
        "patient": "patient",
        "studies[]": "study",
        "administrations[]": "administration",
        "results[]": "result",
    },
    "result": {
        "result": "result",
        "administration": "administration",
        "document": "document",
        "patient": "patient",
        "studies[]": "study",
    },
}
_NAME_GROUP = {"family": Hole("string"), "given": Hole("string", many=True), "text": Hole("string")}
_NAME = {**_NAME_GROUP, "prefix": Hole("string", many=True), "suffix": Hole("string", many=True)}
#: What stands inside a value: type of the whole -> name -> what it brings.
INSIDE: dict[str, dict[str, Hole]] = {
    "Quantity": {"value": Hole("decimal"), "unit": Hole("string")},
    "CodeableConcept": {"system": Hole("uri"), "code": Hole("code"), "text": Hole("string")},
    "HumanName": {
        **_NAME,
        **{group: Hole("object") for group in ("ideographic", "phonetic")},
        **{f"{group}.{key}": hole for group in ("ideographic", "phonetic") for key, hole in _NAME.items()},
    },
}
#: Converter -> the FHIR type it gives. One that is not listed gives what its ``result`` says, or something unknown.
_GIVES: dict[str, Hole] = {
    **dict.fromkeys(
        ("text", "joined", "serial_number", "uid", "only_uid", "attachment_hash", "dvh_widths", "dvh_volumes"), Hole("string")
    ),
    **dict.fromkeys(("code", "gender", "use", "absent_reason", "dose_kind"), Hole("code")),
    **dict.fromkeys(("date", "birth_date"), Hole("date")),
    **dict.fromkeys(("datetime", "datetime_of", "injection_time", "injection_end", "reported_start"), Hole("dateTime")),
    "list": Hole("string", many=True),
    "frame_timing": Hole("object"),
    "integer": Hole("integer"),
    **dict.fromkeys(("count", "attachment_size"), Hole("unsignedInt")),
    "decimal": Hole("decimal"),
    "boolean": Hole("boolean"),
    "time": Hole("time"),
    "concepts": Hole("CodeableConcept", many=True),
}
_RESULTS = {
    "quantity": Hole("Quantity"),
    "concept": Hole("CodeableConcept"),
    "name": Hole("HumanName"),
    "number": Hole("decimal"),
    "list": Hole("object", many=True),
}


def gives(converter: str, result: str) -> Hole:
    """What a field of this converter brings to a template."""
    return _GIVES.get(converter) or _RESULTS.get(result, Hole(None))


#: What templates of a mapping can read, by level: lint asks the same thousands of times.
_READABLE: WeakKeyDictionary[Mapping, dict[str, dict[str, Hole]]] = WeakKeyDictionary()


def readable(mapping: Mapping, level: str) -> dict[str, Hole]:
    """All that a template can read below a level: fields, what stands inside them, and what rendering provides. Not to be changed."""
    known = _READABLE.setdefault(mapping, {})
    if level not in known:
        known[level] = _readable(mapping, level)
    return known[level]


def _readable(mapping: Mapping, level: str) -> dict[str, Hole]:
    found = dict(PROVIDED[level])
    if level == "result":
        return found | _fixed(MEMBERS)
    if level == "document":
        found |= _fixed(DOCUMENT_MEMBERS)
    for rule in mapping.fields:
        if rule.level == level:
            found |= _of_rule(rule)
    return found


def _fixed(members: dict[str, str]) -> dict[str, Hole]:
    """Members that a tree has whatever wrote it, and what stands inside them."""
    found: dict[str, Hole] = {}
    for name, type_ in members.items():
        *groups, _ = name.split(".")
        for depth in range(len(groups)):
            group = ".".join(groups[: depth + 1])
            found.setdefault(group.removesuffix("[]"), Hole("object", many=group.endswith("[]")))
        found[name] = Hole("string", many=True) if type_ == "list" else Hole(type_)
        found |= {f"{name}.{inner}": part for inner, part in INSIDE.get(type_, {}).items()}
    return found


def _of_rule(rule: FieldRule, words: tuple[str, ...] | None = None) -> dict[str, Hole]:
    words = rule.keys if words is None else words
    whole, hole = ".".join(words), gives(rule.converter.name, rule.converter.result)
    outer = {".".join(words[: index + 1]): Hole(None) for index in range(len(words) - 1)}
    inside = {f"{whole}.{name}": part for name, part in INSIDE.get(hole.type or "", {}).items() if not hole.many}
    for item in rule.items:
        inside |= {f"{whole}[].{name}": part for name, part in _of_rule(item, item.keys).items()}
    if hole.type == "Quantity":
        stated = f"{whole}_stated"
        inside |= {stated: hole, **{f"{stated}.{name}": part for name, part in INSIDE["Quantity"].items()}}
    told = {f"{whole}_repaired": Hole("boolean"), f"{whole}_candidates": Hole(hole.type, many=True)}
    return {**outer, **inside, **told, whole: hole}


def hole_at(path: str, per: str, levels: dict[str, dict[str, Hole]]) -> Hole:
    """What an absolute path of a template brings; ``levels`` are the readable names by level."""
    scope = SCOPES.get(per, {})
    root = root_of(path, scope)
    if root is None:
        return Hole(None)
    rest = path[len(root) + 1 :]
    item = rest.endswith("[]")
    found = levels[scope[root]].get(rest.removesuffix("[]"), Hole(None))
    return Hole(found.type, target=found.target) if item else found


def root_of(path: str, names: Iterable[str]) -> str | None:
    """The longest name of a scope that a path starts with."""
    return max((name for name in names if path == name or path.startswith(f"{name}.")), key=len, default=None)


def faulty_fields(effective: Effective, mapping: Mapping) -> frozenset[str]:
    """Fields that are written and did not compile: each has its complaint, so nothing else is to complain of its absence.

    Of one whose level is misspelt that under the nearest level as well.
    """
    made = {rule.name for rule in mapping.fields}
    faulty = {name for name in effective.fields if name not in made}
    levels = {name: name.partition(".")[0] for name in faulty}
    meant = {f"{nearest(level, LEVELS)}.{name.partition('.')[2]}" for name, level in levels.items() if level not in LEVELS}
    return frozenset(faulty | meant)


def belongs_to(name: str, fields: Iterable[str]) -> bool:
    """True when a name of the form ``level.a.b`` is one of the fields, stands inside one or around one, or is told beside one."""
    return any(
        name == field
        or name.startswith((f"{field}.", f"{field}_stated", f"{field}_repaired", f"{field}_candidates"))
        or field.startswith(f"{name}.")
        for field in fields
    )
