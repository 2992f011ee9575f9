"""What is wrong with a directory of mappings: everything at once, before any object arrives.

Besides what compilation finds: templates that read what no field writes, tests that expect nothing or give what cannot be,
two mappings for the same objects, a resource that means two things.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.dicom.paths import PathError, parse_path
from gateway.mapping import example, sr_example
from gateway.mapping.codes import Codes, load_codes
from gateway.mapping.compile import compile_mapping
from gateway.mapping.complaints import Complaint, did_you_mean
from gateway.mapping.conflicts import conflicts
from gateway.mapping.fhir_lint import check_resources
from gateway.mapping.files import Effective, Origin, read_files, resolve
from gateway.mapping.rules import LEVELS, Mapping, Mappings
from gateway.mapping.scopes import SCOPES, readable, root_of
from gateway.mapping.template import Template
from gateway.mapping.unused import unused
from gateway.nuclear.results import KINDS

_TEST_KEYS = ("name", "given", "record", "expect")
#: What a test may give instead of an object.
_RECORD_KEYS = ("patient", "study", "series", "document", "administrations", "results")
_EXPECT_KEYS = ("fields", "results", "resources", "absent", "issues", "dicom", "outcome")
OUTCOMES = ("record", "quarantined")
#: Paths of a scope that are lists of what a level holds.
_WHOLE_LISTS = ("series", "studies", "administrations", "results", "series[].instances", "series.instances", "study.modalities[]")


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What came of a directory: the mappings when nothing is wrong, all that is wrong, and what is only worth a look."""

    mappings: Mappings | None
    complaints: list[Complaint]
    warnings: list[Complaint]


def examine(directory: Path) -> Examined:
    """Read, compile and check a directory, FHIR included. The mappings are ``None`` when there is any complaint."""
    codes, complaints = load_codes(directory / "codes")
    effective = resolve(read_files(directory, complaints), complaints)
    mappings = [compile_mapping(one, codes, complaints) for one in effective]
    findings = list(check_resources(effective, mappings))
    complaints += _check(effective, mappings, codes)
    complaints += [complaint for complaint, warning in findings if not warning]
    wrong = sorted(set(complaints))
    warnings = [complaint for complaint, warning in findings if warning]
    if not wrong:  # else half of what seems unused is only misspelt
        warnings += unused(effective, mappings, directory)
    return Examined(
        mappings=None if wrong else Mappings(tuple(mappings), codes), complaints=wrong, warnings=sorted(set(warnings))
    )


def compile_directory(directory: Path) -> tuple[Mappings | None, list[Complaint]]:
    """Read, compile and check a directory. The mappings are ``None`` when there is any complaint."""
    examined = examine(directory)
    return examined.mappings, examined.complaints


def lint(directory: Path) -> list[Complaint]:
    """Everything that is wrong, in the order of files and lines. Empty: the mappings may be used."""
    return examine(directory).complaints


def _check(effective: list[Effective], mappings: list[Mapping], codes: Codes) -> Iterable[Complaint]:
    for one, mapping in zip(effective, mappings, strict=True):
        heirs = [heir for heir in mappings if one.abstract and mapping.name in heir.lineage]
        yield from _check_templates(one, mapping, heirs)
        yield from _check_tests(one, mapping)
        yield from _check_example(one)
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
    if path.startswith("refs.") or path in _WHOLE_LISTS:
        return None
    scope = SCOPES[per]
    root = root_of(path, scope)
    if root is None:
        return f"'${{{path}}}': a resource per {per} can read {', '.join(name.replace('[]', '') for name in scope)}"
    level, rest = scope[root], path[len(root) + 1 :].removesuffix("[]")
    readable = {name for mapping in mappings for name in readable_names(mapping, level)}
    if not rest or rest in readable or rest.startswith("refs."):
        return None
    return f"'${{{path}}}': no field '{level}.{rest}' is written{did_you_mean(rest, readable)}"


def readable_names(mapping: Mapping, level: str) -> set[str]:
    """What a template can read below a level: fields, what stands inside them, and what rendering provides."""
    return set(readable(mapping, level))


def _check_tests(effective: Effective, mapping: Mapping) -> Iterable[Complaint]:
    names = set()
    taken_away = {name for name, spec in (effective.own.get("fields") or {}).items() if spec is None}
    for index, node in enumerate(effective.own.get("tests") or []):
        origin = Origin(effective.document, ("tests", index))
        if not isinstance(node, dict) or not isinstance(node.get("name"), str) or not node["name"]:
            yield origin.complain("a test needs a 'name'")
            continue
        if node["name"] in names:
            yield origin.complain(f"two tests are named '{node['name']}'")
        names.add(node["name"])
        yield from _unknown(node, _TEST_KEYS, origin)
        yield from _check_given(node.get("given") or {}, origin, "given")
        if "record" in node:
            yield from _check_record(node["record"], Origin(effective.document, ("tests", index, "record")))
        expect = node.get("expect")
        if not isinstance(expect, dict) or not any(expect.values()):
            yield origin.complain("a test that expects nothing proves nothing", "expect")
            continue
        yield from _unknown(expect, _EXPECT_KEYS, Origin(effective.document, ("tests", index, "expect")))
        yield from _check_expect(expect, mapping, Origin(effective.document, ("tests", index, "expect")), taken_away)


def _check_record(record: Any, origin: Origin) -> Iterable[Complaint]:
    if not isinstance(record, dict):
        yield origin.complain("'record' is a mapping of what was read")
        return
    yield from _unknown(record, _RECORD_KEYS, origin)
    for index, result in enumerate(record.get("results") or []):
        kind = result.get("kind") if isinstance(result, dict) else None
        if kind not in KINDS:
            yield origin.complain(f"'{kind}' is not a kind of result{did_you_mean(str(kind), KINDS)}", "results", index)


def _check_expect(expect: dict[str, Any], mapping: Mapping, origin: Origin, taken_away: Collection[str]) -> Iterable[Complaint]:
    kinds: dict[str, type] = {
        "fields": dict,
        "resources": dict,
        "absent": list,
        "issues": list,
        "dicom": dict,
        "outcome": str,
        "results": list,
    }
    for key, kind in kinds.items():
        if key in expect and not isinstance(expect[key], kind):
            yield origin.complain(
                f"'{key}' must be {'a mapping' if kind is dict else 'a list' if kind is list else 'a word'}", key
            )
            return
    if expect.get("outcome", "record") not in OUTCOMES:
        yield origin.complain(f"'outcome' is one of {', '.join(OUTCOMES)}", "outcome")
    known = {f"{level}.{rest.replace('[]', '')}" for level in LEVELS for rest in readable_names(mapping, level)}
    named: list[tuple[str, str | int, Any]] = [("fields", name, name) for name in expect.get("fields", ())]
    named += [("absent", index, name) for index, name in enumerate(expect.get("absent", ()))]
    for key, place, name in named:
        bare = "".join(_without_indexes(str(name)))
        if bare not in known and not (key == "absent" and bare in taken_away):
            yield origin.complain(f"no field '{bare}' is written{did_you_mean(bare, known)}", key, place)
    for name in expect.get("resources", {}):
        if name.partition("[")[0] not in mapping.resources:
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
