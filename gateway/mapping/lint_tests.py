"""Lint of what a mapping file proves itself by: its ``example``, and its ``tests`` with what they give and expect."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from gateway.mapping import example, sr_example
from gateway.mapping.complaints import Complaint, did_you_mean
from gateway.mapping.field_names import field_hint
from gateway.mapping.files import Effective, Origin
from gateway.mapping.path_words import path_problems
from gateway.mapping.rules import LEVELS, Mapping
from gateway.mapping.scopes import belongs_to, faulty_fields, readable
from gateway.nuclear.results import KINDS

_TEST_KEYS = ("name", "given", "record", "expect")
#: What a test may give instead of an object.
_RECORD_KEYS = ("patient", "study", "series", "document", "administrations", "results")
_EXPECT_KEYS = ("fields", "results", "resources", "absent", "issues", "dicom", "outcome")
OUTCOMES = ("record", "quarantined")


def check_tests(effective: Effective, mapping: Mapping) -> Iterable[Complaint]:
    """The tests of one file. What a field with a mistake of its own would have written is not complained of a second time."""
    names = set()
    taken_away = {name for name, spec in (effective.own.get("fields") or {}).items() if spec is None}
    for index, node in enumerate(effective.own.get("tests") or []):
        origin = Origin(effective.document, ("tests", index))
        if not isinstance(node, dict) or not isinstance(node.get("name"), str) or not node["name"]:
            yield origin.complain("a test needs a 'name'")
        if not isinstance(node, dict):
            continue
        name = str(node.get("name"))
        if name in names:
            yield origin.complain(f"two tests are named '{name}'")
        names.add(name)
        yield from _unknown(node, _TEST_KEYS, origin)
        node, origin = origin.as_meant(node, _TEST_KEYS)
        yield from _check_given(node.get("given") or {}, origin, "given")
        if "record" in node:
            yield from _check_record(node["record"], origin.below("record"))
        expect = node.get("expect")
        if not isinstance(expect, dict) or not any(expect.values()):
            yield origin.complain("a test that expects nothing proves nothing", "expect")
            continue
        below = origin.below("expect")
        yield from _unknown(expect, _EXPECT_KEYS, below)
        expect, below = below.as_meant(expect, _EXPECT_KEYS)
        yield from _check_expect(expect, effective, mapping, below, taken_away)


def _check_record(record: Any, origin: Origin) -> Iterable[Complaint]:
    if not isinstance(record, dict):
        yield origin.complain("'record' is a mapping of what was read")
        return
    yield from _unknown(record, _RECORD_KEYS, origin)
    for index, result in enumerate(record.get("results") or []):
        kind = result.get("kind") if isinstance(result, dict) else None
        if kind not in KINDS:
            yield origin.complain(f"'{kind}' is not a kind of result{did_you_mean(str(kind), KINDS)}", "results", index)


def _check_expect(
    expect: dict[str, Any], effective: Effective, mapping: Mapping, origin: Origin, taken_away: Collection[str]
) -> Iterable[Complaint]:
    kinds: dict[str, type] = {"fields": dict, "resources": dict, "absent": list, "issues": list, "dicom": dict, "outcome": str}
    kinds |= {"results": list}
    wrong = [key for key, kind in kinds.items() if key in expect and not isinstance(expect[key], kind)]
    for key in wrong:
        kind = kinds[key]
        yield origin.complain(f"'{key}' must be {'a mapping' if kind is dict else 'a list' if kind is list else 'a word'}", key)
    expect = {key: value for key, value in expect.items() if key not in wrong}
    if expect.get("outcome", "record") not in OUTCOMES:
        yield origin.complain(f"'outcome' is one of {', '.join(OUTCOMES)}", "outcome")
    known = {f"{level}.{rest.replace('[]', '')}" for level in LEVELS for rest in readable(mapping, level)}
    faulty = faulty_fields(effective, mapping)
    named: list[tuple[str, str | int, Any]] = [("fields", name, name) for name in expect.get("fields", ())]
    named += [("absent", index, name) for index, name in enumerate(expect.get("absent", ()))]
    for key, place, name in named:
        bare = "".join(_without_indexes(str(name)))
        if bare in known or belongs_to(bare, faulty) or (key == "absent" and bare in taken_away):
            continue
        if not effective.lacks:
            yield origin.complain(f"no field '{bare}' is written{field_hint(bare, known, effective.fields)}", key, place)
    for name in expect.get("resources", {}):
        if name.partition("[")[0] not in effective.resources and not effective.lacks:
            yield origin.complain(f"there is no resource '{name}'{did_you_mean(name, effective.resources)}", "resources", name)


def _without_indexes(name: str) -> Iterable[str]:
    inside = False
    for letter in name:
        inside = letter == "[" or (inside and letter != "]")
        if not inside and letter != "]":
            yield letter


def check_example(effective: Effective) -> Iterable[Complaint]:
    """The elements of ``example``: real paths, and words that can stand there."""
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
        yield from (origin.complain(problem, *below, path) for problem in path_problems(path))
        for index, item in enumerate(value if isinstance(value, list) else []):
            if isinstance(item, dict):
                yield from _check_given(item, Origin(origin.document, (*origin.place, *below, path, index)))


def _unknown(node: dict[str, Any], known: Collection[str], origin: Origin) -> Iterable[Complaint]:
    for key in node:
        if key not in known:
            yield origin.complain(f"unknown key '{key}'{did_you_mean(key, known)}", key)
