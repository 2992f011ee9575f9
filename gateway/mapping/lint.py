"""What is wrong with a directory of mappings: everything at once, before any object arrives.

Besides what compilation finds: templates that read what no field writes, tests that expect nothing or give what cannot be,
two mappings for the same objects, a resource that means two things.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from gateway.dicom.paths import PathError, parse_path
from gateway.mapping import example, sr_example
from gateway.mapping.codes import Codes, load_codes
from gateway.mapping.compile import compile_mapping
from gateway.mapping.complaints import Complaint, did_you_mean
from gateway.mapping.conflicts import conflicts
from gateway.mapping.files import Effective, Origin, read_files, resolve
from gateway.mapping.rules import LEVELS, FieldRule, Mapping, Mappings
from gateway.mapping.template import Template
from gateway.model import JsonObject

#: Checks one literal resource template against FHIR: returns what is wrong, with the place. Given by whoever knows FHIR.
FhirCheck = Callable[[JsonObject], Iterable[tuple[tuple[str | int, ...], str]]]

_TEST_KEYS = ("name", "given", "expect")
_EXPECT_KEYS = ("fields", "resources", "absent", "issues", "outcome")
OUTCOMES = ("record", "quarantined")
#: What rendering adds to the fields, for each level.
PROVIDED: dict[str, frozenset[str]] = {
    "patient": frozenset({"key"}),
    "study": frozenset({"modalities", "number_of_series", "number_of_instances", "reference"}),
    "series": frozenset({"number_of_instances", "instances"}),
    "device": frozenset({"key"}),
    "instance": frozenset(),
    "administration": frozenset({"key", "event_uids", "reconciled", "remarks"}),
}
#: What a template may read, by ``per``: name in the scope -> level whose fields stand there.
SCOPES: dict[str, dict[str, str]] = {
    "patient": {"patient": "patient"},
    "study": {"study": "study", "patient": "patient", "series[]": "series", "series[].instances[]": "instance"},
    "device": {"device": "device"},
    "administration": {"administration": "administration", "patient": "patient", "studies[]": "study"},
}
_INSIDE = {
    "quantity": {"value", "unit"},
    "concept": {"system", "code", "text"},
    "name": {"family", "given", "prefix", "suffix", "text", "ideographic", "phonetic"},
}


def compile_directory(directory: Path, fhir_check: FhirCheck | None = None) -> tuple[Mappings | None, list[Complaint]]:
    """Read, compile and check a directory. The mappings are ``None`` when there is any complaint."""
    codes, complaints = load_codes(directory / "codes")
    effective = resolve(read_files(directory, complaints), complaints)
    mappings = [compile_mapping(one, codes, complaints) for one in effective]
    complaints += _check(effective, mappings, codes, fhir_check)
    unique = sorted(set(complaints))
    return (None if unique else Mappings(tuple(mappings), codes)), unique


def lint(directory: Path, *, fhir_check: FhirCheck | None = None) -> list[Complaint]:
    """Everything that is wrong, in the order of files and lines. Empty: the mappings may be used."""
    return compile_directory(directory, fhir_check)[1]


def _check(
    effective: list[Effective], mappings: list[Mapping], codes: Codes, fhir_check: FhirCheck | None
) -> Iterable[Complaint]:
    for one, mapping in zip(effective, mappings, strict=True):
        heirs = [heir for heir in mappings if one.abstract and mapping.name in heir.lineage]
        yield from _check_templates(one, mapping, heirs)
        yield from _check_tests(one, mapping)
        yield from _check_example(one)
        if fhir_check:
            for piece in one.resources.values():
                for place, text in fhir_check(piece.node):
                    yield piece.origin.complain(text, *place)
    yield from conflicts(effective, mappings)
    yield from _redefined(effective)
    if not codes.tables:
        yield Complaint("codes", 1, 1, "there is no code table here")


def _check_templates(effective: Effective, mapping: Mapping, heirs: Sequence[Mapping]) -> Iterable[Complaint]:
    """Every hole of the templates. Those of a base for others are checked where they stand, against all that its heirs write."""
    for name, resource in mapping.resources.items():
        origin = effective.resources[name].origin
        if origin.document is not effective.document and origin.document.data.get("match") == "nothing":
            continue
        for index, part in enumerate(resource.identity):
            yield from _check_template(part, resource.per, effective, (mapping, *heirs), origin, ("identity", index))
        yield from _check_template(resource.body, resource.per, effective, (mapping, *heirs), origin, ())


def _check_template(
    template: Template, per: str, effective: Effective, mappings: Sequence[Mapping], origin: Origin, below: tuple[str | int, ...]
) -> Iterable[Complaint]:
    for place, path in template.paths:
        problem = _path_problem(path, per, mappings)
        if problem:
            yield origin.complain(problem, *below, *place)
    known = {*effective.resources, "patient", "study", "device"}
    for place, name in template.references:
        if name not in known:
            yield origin.complain(f"'@{name}' is not a resource of this mapping{did_you_mean(name, known)}", *below, *place)


def _path_problem(path: str, per: str, mappings: Sequence[Mapping]) -> str | None:
    """Why nothing will ever stand at a scope path, or ``None``."""
    if path.startswith("refs.") or path in ("series", "studies", "series[].instances", "study.modalities[]"):
        return None
    scope = SCOPES[per]
    root = max((name for name in scope if path == name or path.startswith(f"{name}.")), key=len, default=None)
    if root is None:
        return f"'${{{path}}}': a resource per {per} can read {', '.join(name.replace('[]', '') for name in scope)}"
    level, rest = scope[root], path[len(root) + 1 :].removesuffix("[]")
    readable = {name for mapping in mappings for name in readable_names(mapping, level)}
    if not rest or rest in readable or rest.startswith("refs."):
        return None
    return f"'${{{path}}}': no field '{level}.{rest}' is written{did_you_mean(rest, readable)}"


def readable_names(mapping: Mapping, level: str) -> set[str]:
    """What a template can read below a level: fields, what stands inside them, and what rendering provides."""
    names = set(PROVIDED[level])
    for rule in mapping.fields:
        if rule.level != level:
            continue
        words = rule.keys
        names |= {".".join(words[: index + 1]) for index in range(len(words))}
        whole = ".".join(words)
        inside = _INSIDE.get(rule.converter.result, set())
        names |= {f"{whole}.{key}" for key in inside} | {f"{whole}_repaired", f"{whole}_candidates"}
        names |= set(_listed(rule, whole))
        if rule.converter.result == "name":
            names |= {f"{whole}.{group}.{key}" for group in ("ideographic", "phonetic") for key in ("family", "given", "text")}
    return names


def _listed(rule: FieldRule, whole: str) -> Iterable[str]:
    """What stands in the entries of a list: as loops of templates read it, and as tests name it."""
    for item in rule.items:
        name = ".".join(item.keys)
        inside = ("", *(f".{key}" for key in _INSIDE.get(item.converter.result, ())))
        for path in (f"{whole}[].{name}", f"{whole}.{name}"):
            yield from (f"{path}{key}" for key in inside)
            yield from _listed(item, path)


def _check_tests(effective: Effective, mapping: Mapping) -> Iterable[Complaint]:
    names = set()
    for index, node in enumerate(effective.own.get("tests") or []):
        origin = Origin(effective.document, ("tests", index))
        if not isinstance(node, dict) or not node.get("name"):
            yield origin.complain("a test needs a 'name'")
            continue
        if node["name"] in names:
            yield origin.complain(f"two tests are named '{node['name']}'")
        names.add(node["name"])
        yield from _unknown(node, _TEST_KEYS, origin)
        yield from _check_given(node.get("given") or {}, origin, "given")
        expect = node.get("expect")
        if not isinstance(expect, dict) or not any(expect.values()):
            yield origin.complain("a test that expects nothing proves nothing")
            continue
        yield from _unknown(expect, _EXPECT_KEYS, Origin(effective.document, ("tests", index, "expect")))
        taken = {name for name, spec in (effective.own.get("fields") or {}).items() if spec is None}
        yield from _check_expect(expect, mapping, Origin(effective.document, ("tests", index, "expect")), taken)


def _check_expect(expect: dict[str, Any], mapping: Mapping, origin: Origin, taken: Collection[str]) -> Iterable[Complaint]:
    """``taken`` are the fields that the mapping takes away: a test may say that they are absent."""
    kinds: dict[str, type] = {"fields": dict, "resources": dict, "absent": list, "issues": list, "outcome": str}
    for key, kind in kinds.items():
        if key in expect and not isinstance(expect[key], kind):
            yield origin.complain(
                f"'{key}' must be {'a mapping' if kind is dict else 'a list' if kind is list else 'a word'}", key
            )
            return
    if expect.get("outcome", "record") not in OUTCOMES:
        yield origin.complain(f"'outcome' is one of {', '.join(OUTCOMES)}", "outcome")
    known = {name for level in LEVELS for name in (f"{level}.{rest}" for rest in readable_names(mapping, level))}
    for key in ("fields", "absent"):
        for name in expect.get(key, ()):
            bare = "".join(part for part in _without_indexes(str(name)))
            if bare not in known and not (key == "absent" and bare in taken):
                yield origin.complain(f"no field '{bare}' is written{did_you_mean(bare, known)}", key, name)
    for name in expect.get("resources", {}):
        if name not in mapping.resources:
            yield origin.complain(f"there is no resource '{name}'{did_you_mean(name, mapping.resources)}", "resources", name)


def _without_indexes(name: str) -> Iterable[str]:
    inside = False
    for letter in name:
        inside = letter == "[" or (inside and letter != "]")
        if not inside and letter != "]":
            yield letter


def _check_example(effective: Effective) -> Iterable[Complaint]:
    return _check_given(effective.own.get("example") or {}, Origin(effective.document, ("example",)))


def _check_given(given: Any, origin: Origin, *below: str) -> Iterable[Complaint]:
    if not isinstance(given, dict):
        yield origin.complain("elements are given as a mapping of keywords", *below)
        return
    for path, value in given.items():
        if path in example.WORDS and not below[1:]:
            yield from (origin.complain(text, *below, path) for text in example.word_problems(path, value or {}))
            continue
        if sr_example.is_sr(path):
            wrong = (
                sr_example.problems(value)
                if path == sr_example.SR
                else sr_example.item_problems(path.split("/")[-1], value or {})
            )
            yield from (origin.complain(text, *below, path) for text in wrong)
            continue
        try:
            parse_path(path)
        except PathError as error:
            yield origin.complain(str(error), *below, path)
        for index, item in enumerate(value if isinstance(value, list) else []):
            if isinstance(item, dict):
                yield from _check_given(item, Origin(origin.document, (*origin.place, *below, path, index)))


def _redefined(effective: list[Effective]) -> Iterable[Complaint]:
    """Patients and studies are met by records of several mappings: their resources must mean the same in all."""
    seen: dict[str, tuple[str, Any]] = {}
    for one in effective:
        for name, piece in one.resources.items():
            per = piece.node.get("per") if isinstance(piece.node, dict) else None
            if per not in ("patient", "study"):
                continue
            owner, node = seen.setdefault(name, (one.name, piece.node))
            if node != piece.node:
                yield piece.origin.complain(f"resource '{name}' is made per {per} and already defined by '{owner}'")


def _unknown(node: dict[str, Any], known: Collection[str], origin: Origin) -> Iterable[Complaint]:
    for key in node:
        if key not in known:
            yield origin.complain(f"unknown key '{key}'{did_you_mean(key, known)}", key)
