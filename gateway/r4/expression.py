"""The part of FHIRPath that R4's search parameters are written in, compiled to plain loops.

An expression is a union of branches; a branch is a path of element names with casts (``as``) and three kinds of filter.
The compiler walks the element tables, so every branch ends in paths whose JSON keys and FHIR type are known beforehand.
What it does not know it refuses with :class:`UnknownExpression`, at generation time and not at midnight.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.r4.definitions import Elements

#: From a list of nodes to the list of what is found one step further.
Step = Callable[[Sequence[Any]], list[Any]]

_AS_GROUP = re.compile(r"\((?P<path>[^()]+) as (?P<kind>\w+)\)(?P<rest>.*)")
_EXISTS_NOT_FALSE = re.compile(r"(?P<path>[\w.]+)\.exists\(\) and (?P=path) != false")
_RESOLVES = re.compile(r"where\(resolve\(\) is (?P<kind>\w+)\)")
_HOLDS = re.compile(r"where\((?P<path>[\w.]+) contains '(?P<value>[^']*)'\)")
_EQUALS = re.compile(r"where\((?P<key>\w+)\s*=\s*'(?P<value>[^']*)'\)")
_CAST = re.compile(r"(?:as|ofType)\((?P<kind>\w+)\)")
_SEGMENT = re.compile(r"(?:^|\.)((?:where|as|ofType)\((?:[^()]|\(\))*\)|[A-Za-z]\w*)")


class UnknownExpression(ValueError):
    """The search expression uses something this compiler does not know."""


@dataclass(frozen=True, slots=True)
class Extractor:
    """One straight path through a resource: its steps, and the FHIR type of what lies at its end."""

    kind: str
    steps: tuple[Step, ...]
    path: tuple[str, ...] = ()  #: the steps in words: two extractors of one path find the same
    defaults_to_false: bool = False  #: ``x.exists() and x != false``: yields one boolean, also when nothing is there

    @property
    def first_key(self) -> str:
        """The JSON key without which nothing is found; empty when there is no such key."""
        return self.path[0] if self.path and self.path[0].isidentifier() and not self.defaults_to_false else ""

    @property
    def needed_key(self) -> str:
        """The JSON key without which nothing is found when a filter over the whole comes first; empty when there is no such key."""
        second = self.path[1:2] if self.path and self.path[0].startswith("where(") else ()
        return second[0] if second and second[0].isidentifier() and not self.defaults_to_false else ""

    @property
    def filter_key(self) -> str:
        """The JSON key that such a filter looks at; empty when it is not known."""
        found = re.match(r"where\((\w+)[.=\s]", self.path[0]) if self.needed_key else None
        return found[1] if found else ""

    def values(self, resource: Mapping[str, Any]) -> list[Any]:
        """What lies at the end of the path, in document order; never ``None``."""
        nodes: list[Any] = [resource]
        for step in self.steps:
            nodes = step(nodes)
            if not nodes:
                break
        if self.defaults_to_false:
            return [bool(nodes) and nodes[0] is not False]
        return nodes


@dataclass(frozen=True, slots=True)
class _Route:
    """A path under construction. ``pending`` holds the typed keys of a choice that may still be cast."""

    kind: str
    steps: tuple[Step, ...] = ()
    path: tuple[str, ...] = ()
    pending: tuple[tuple[str, str, bool], ...] = ()

    def onward(self, kind: str, step: Step, word: str) -> _Route:
        return _Route(kind, (*self.steps, step), (*self.path, word))


def branches(expression: str) -> list[str]:
    """Split a union at its top-level bars."""
    parts, depth, start = [], 0, 0
    for index, char in enumerate(expression):
        depth += (char == "(") - (char == ")")
        if char == "|" and depth == 0:
            parts.append(expression[start:index])
            start = index + 1
    parts.append(expression[start:])
    return [part.strip() for part in parts]


def compile_expression(expression: str, *, root: str, elements: Elements) -> tuple[Extractor, ...]:
    """Compile all branches of ``expression`` for resources (or, for composites, elements) of type ``root``.

    Raises :class:`UnknownExpression` for any construct or element that is not known.
    """
    return tuple(extractor for branch in branches(expression) for extractor in _branch(branch, root, elements))


def _branch(branch: str, root: str, elements: Elements) -> list[Extractor]:
    if match := _EXISTS_NOT_FALSE.fullmatch(branch):
        paths = _branch(match["path"], root, elements)
        return [Extractor("boolean", (_any_of(paths),), (branch,), defaults_to_false=True)]
    if match := _AS_GROUP.fullmatch(branch):
        branch = f"{match['path']}.as({match['kind']}){match['rest']}"
    routes = [_Route(root)]
    for number, segment in enumerate(_segments(branch)):
        if number == 0 and segment in (root, "Resource", "DomainResource"):
            continue
        routes = [onward for route in routes for onward in _advance(route, segment, elements)]
    return [Extractor(route.kind, route.steps, route.path) for start in routes for route in _settle(start)]


def _segments(branch: str) -> list[str]:
    found, position = [], 0
    while position < len(branch):
        match = _SEGMENT.match(branch, position)
        if not match:
            raise UnknownExpression(f"not understood: {branch}")
        found.append(match[1])
        position = match.end()
    return found


def _advance(route: _Route, segment: str, elements: Elements) -> list[_Route]:
    if match := _CAST.fullmatch(segment):
        return _cast(route, match["kind"])
    onward = _settle(route)
    if match := _RESOLVES.fullmatch(segment):
        return [r.onward(r.kind, _points_to(match["kind"]), segment) for r in onward if r.kind == "Reference"]
    if match := _HOLDS.fullmatch(segment):
        return [r.onward(r.kind, _holds(match["path"], match["value"]), segment) for r in onward]
    if match := _EQUALS.fullmatch(segment):
        return [r.onward(r.kind, _equals(match["key"], match["value"]), segment) for r in onward]
    return [_child(r, segment, elements) for r in onward]


def _cast(route: _Route, kind: str) -> list[_Route]:
    if not route.pending:
        if route.kind != kind:
            raise UnknownExpression(f"{route.kind} can never be a {kind}")
        return [route]
    kept = tuple(entry for entry in route.pending if entry[1] == kind)
    if not kept:
        raise UnknownExpression(f"no choice of type {kind}")
    return [_Route(kind, route.steps, route.path, kept)]


def _settle(route: _Route) -> list[_Route]:
    """Turn an uncast choice into one route per type."""
    if not route.pending:
        return [route]
    return [route.onward(kind, _field(key, many=many), key) for key, kind, many in route.pending]


def _child(route: _Route, name: str, elements: Elements) -> _Route:
    known = elements.get(route.kind, {})
    if choice := known.get(f"{name}[x]"):
        pending = tuple((key, kind, choice.many) for key, kind in choice.keys().items())
        return _Route("", route.steps, route.path, pending)
    if name not in known:
        raise UnknownExpression(f"{route.kind} has no element '{name}'")
    element = known[name]
    return route.onward(element.types[0], _field(name, many=element.many), name)


def _field(key: str, *, many: bool) -> Step:
    if many:
        return lambda nodes: [child for node in nodes for child in node.get(key, ()) if child is not None]
    return lambda nodes: [node[key] for node in nodes if key in node]


def _equals(key: str, value: str) -> Step:
    return lambda nodes: [node for node in nodes if node.get(key) == value]


def _holds(path: str, value: str) -> Step:
    """``where(code.coding.code contains '113507')``: one of what lies at the end of the path is the value."""
    *names, key = path.split(".")
    return lambda nodes: [node for node in nodes if any(found.get(key) == value for found in _below(node, names))]


def _below(node: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    nodes: list[Any] = [node]
    for name in names:
        found: list[Any] = []
        for child in nodes:
            value = child.get(name, ())
            if isinstance(value, list | tuple):
                found += value
            else:
                found.append(value)
        nodes = found
    return nodes


def _points_to(kind: str) -> Step:
    """``where(resolve() is Patient)``, decided from the reference itself, because nothing is fetched."""
    segment = f"{kind}/"

    def points(node: Mapping[str, Any]) -> bool:
        reference = node.get("reference", "")
        return reference.startswith((segment, f"{kind}?")) or f"/{segment}" in reference or node.get("type") == kind

    return lambda nodes: [node for node in nodes if points(node)]


def _any_of(extractors: Sequence[Extractor]) -> Step:
    return lambda nodes: [value for node in nodes for extractor in extractors for value in extractor.values(node)]
