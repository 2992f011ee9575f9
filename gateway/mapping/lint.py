"""What is wrong with a directory of mappings: everything at once, before any object arrives.

Besides what compilation finds: templates that read what no field writes, tests that expect nothing or give what cannot be,
two mappings for the same objects, a resource that means two things.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.mapping.codes import Codes, load_codes
from gateway.mapping.compile import Templates, compile_mapping
from gateway.mapping.complaints import Complaint, did_you_mean
from gateway.mapping.conflicts import conflicts
from gateway.mapping.doubts import doubts
from gateway.mapping.fhir_lint import check_resources, partial_resources
from gateway.mapping.field_names import field_hint
from gateway.mapping.files import Effective, Origin, read_files, resolve
from gateway.mapping.guarded import unguarded
from gateway.mapping.lint_tests import check_example, check_tests
from gateway.mapping.rules import Mapping, Mappings
from gateway.mapping.scopes import SCOPES, belongs_to, faulty_fields, readable, root_of
from gateway.mapping.template import ResourceTemplate, Template
from gateway.mapping.unused import unused

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
    templates: Templates = {}
    mappings = [compile_mapping(one, codes, complaints, templates) for one in effective]
    findings = list(check_resources(effective, mappings))
    complaints += _check(effective, mappings, codes)
    complaints += [complaint for complaint, warning in findings if not warning]
    wrong = sorted(set(complaints))
    warnings = [complaint for complaint, warning in findings if warning]
    if not wrong:  # else half of what seems unused is only misspelt
        warnings += unused(effective, mappings, directory)
        warnings += doubts(effective, mappings, directory)
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
        yield from _check_templates(one, mapping, _known(one, mapping, effective, mappings))
        yield from check_tests(one, mapping)
        yield from check_example(one)
        yield from one.taken.complaints()
    yield from conflicts(effective, mappings)
    yield from _redefined(effective)
    yield from unguarded(effective)
    if not codes.tables:
        yield Complaint("codes", 1, 1, "there is no code table here")


@dataclass(frozen=True)
class _Readable:
    """What templates may read: what these mappings write, and silently what a field with a mistake of its own would have written."""

    mappings: Sequence[Mapping]
    faulty: frozenset[str]
    partial: dict[str, ResourceTemplate]
    lacks: bool  #: what they write is not all known
    told: dict[str, set[str]] = field(default_factory=dict)  #: what :meth:`names` found before

    def names(self, level: str) -> set[str]:
        """All that stands below a level."""
        if level not in self.told:
            self.told[level] = {name for mapping in self.mappings for name in readable(mapping, level)}
        return self.told[level]


def _known(one: Effective, mapping: Mapping, effective: list[Effective], mappings: list[Mapping]) -> _Readable:
    partial = partial_resources(one, mapping, mappings)
    if not one.abstract:
        return _Readable((mapping,), faulty_fields(one, mapping), partial, one.lacks)
    heirs = [(heir, made) for heir, made in zip(effective, mappings, strict=True) if one.name in heir.lineage]
    faulty = frozenset(name for heir, made in heirs for name in faulty_fields(heir, made))
    return _Readable((mapping, *(made for _, made in heirs)), faulty, partial, any(heir.lacks for heir, _ in heirs))


def _check_templates(effective: Effective, mapping: Mapping, known: _Readable) -> Iterable[Complaint]:
    """Every hole of the templates. Those of a base for others are checked where they stand, against all that its heirs write."""
    for name, resource in {**mapping.resources, **known.partial}.items():
        origin = effective.resources[name].origin
        if origin.document is not effective.document and origin.document.data.get("match") == "nothing":
            continue
        for index, part in enumerate(resource.identity):
            yield from _check_template(part, resource.per, effective, known, origin, ("identity", index))
        yield from _check_template(resource.body, resource.per, effective, known, origin, ())


def _check_template(
    template: Template, per: str, effective: Effective, readable: _Readable, origin: Origin, below: tuple[str | int, ...]
) -> Iterable[Complaint]:
    for place, path in template.paths:
        missing, problem = _path_problem(path, per, readable, effective)
        if problem and not effective.taken.blames("fields", missing, origin, *below, *place):
            yield origin.complain(problem, *below, *place)
    known = {*effective.resources, "patient", "study", "device"}
    for place, name in template.references:
        if name not in known and not effective.lacks and not effective.taken.blames("resources", name, origin, *below, *place):
            yield origin.complain(f"'@{name}' is not a resource of this mapping{did_you_mean(name, known)}", *below, *place)


def _path_problem(path: str, per: str, known: _Readable, effective: Effective) -> tuple[str, str | None]:
    """The field that a scope path reads, and why nothing will ever stand there, or ``None``."""
    if path.startswith("refs.") or path in _WHOLE_LISTS or per not in SCOPES:  # of a wrong 'per' another complaint tells
        return "", None
    scope = SCOPES[per]
    root = root_of(path, scope)
    if root is None:
        return "", f"'${{{path}}}': a resource per {per} can read {', '.join(name.replace('[]', '') for name in scope)}"
    level, rest = scope[root], path[len(root) + 1 :].removesuffix("[]")
    name, names = f"{level}.{rest.replace('[]', '')}", known.names(level)
    if known.lacks or not rest or rest in names or rest.startswith("refs.") or belongs_to(name, known.faulty):
        return name, None
    hint = field_hint(f"{level}.{rest}", [f"{level}.{other}" for other in names], effective.fields).replace(f"'{level}.", "'")
    return name, f"'${{{path}}}': no field '{level}.{rest}' is written{hint}"


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
