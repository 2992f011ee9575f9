"""FHIR templates: literal FHIR with holes, compiled once to closures. What is absent prunes the element around it.

The rules, all of them:

* ``${study.uid}`` as a whole string keeps the value's type; inside longer text it becomes text. Absent: the element goes.
* Objects and lists that become empty go as well, upwards. So does an object whose holes are all empty: a system without
  its code, a component without its value. An object of nothing but literals stays.
* ``- {for_each: s in series, uid: "${s.uid}"}`` in a list makes one entry per item; the other keys are its body.
* ``if: path`` / ``unless: path`` in an object keep it only when the path has a value / has none; of a list of paths, when one
  has a value / none has. With ``is: value`` beside them, that value stands there instead of an object.
* ``reference: "@device"`` is looked up in ``refs``: of the innermost loop item that has that name, else of the scope.
* ``{value, unit}`` becomes a Quantity in UCUM, with ``stated`` beside them as an extension; ``{system, code, text}`` a
  CodeableConcept, without ``display``, because validators compare displays with the code system's own words.
* ``$${`` writes a literal ``${``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.mapping.filling import (
    ABSENT,
    Loop,
    constant,
    entries,
    fhir_value,
    filled,
    first_of,
    joined,
    literal,
    lookup,
    object_of,
    reference,
)
from gateway.mapping.traced import Node, Place, Render, Scope, Traced, Within
from gateway.model import Json, JsonObject

_HOLE = re.compile(r"(?<!\$)\$\{([^{}]*)\}")
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_LOOP = re.compile(r"([a-z]\w*) in ([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")
_REFERENCE = re.compile(r"@([a-z_]\w*)")
_VERBS = ("for_each", "if", "unless")


class TemplateError(ValueError):
    """A template that cannot be right, and the place in it."""

    def __init__(self, place: tuple[str | int, ...], reason: str) -> None:
        super().__init__(reason)
        self.place = place


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template. ``paths`` are the scope paths it reads, loops resolved, each with its place in the template."""

    paths: tuple[tuple[tuple[str | int, ...], str], ...]
    references: tuple[tuple[tuple[str | int, ...], str], ...]
    _node: Node

    def render(self, scope: Scope) -> JsonObject | None:
        """Fill in. ``None`` when nothing is left. Parts without holes are shared between results: treat results as read-only."""
        rendered = self._node.render(scope)
        return None if rendered is ABSENT else rendered

    def trace(self, scope: Scope) -> list[Traced]:
        """Every leaf that :meth:`render` gives for this scope, with the line and the paths that it came from."""
        rendered = self._node.render(scope)
        return [] if rendered is ABSENT else list(self._node.trace(scope, rendered, Within()))


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceTemplate:
    """One resource a mapping makes: once per ``per``, told apart by ``identity``."""

    name: str
    per: str
    identity: tuple[Template, ...]
    body: Template
    resource_type: str
    kinds: tuple[str, ...] = ()  #: of ``per: result``: only for these kinds; none: for all

    def identify(self, scope: Scope) -> tuple[str, ...] | None:
        """The business key within the resource type; absent parts are empty. ``None`` when all holes are: no resource then."""
        parts = tuple(str(part.render(scope) or "") for part in self.identity)
        told = [part for part, template in zip(parts, self.identity, strict=True) if template.paths]
        return _without_tail(parts) if any(told or parts) else None


def _without_tail(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Without the absent parts at the end: a part that is added there later changes no id of a resource that lacks it."""
    while parts and not parts[-1]:
        parts = parts[:-1]
    return parts


def compile_template(node: Json) -> Template:
    """Compile a template. Raises :class:`TemplateError` for the first thing that is wrong."""
    template, errors = read_template(node)
    if errors:
        raise errors[0]
    return template


def read_template(node: Json) -> tuple[Template, list[TemplateError]]:
    """A template, and all that is wrong with it; where anything is, the template is only there to be judged further."""
    compiler = _Compiler()
    compiled = compiler.node(node, (), ())
    return Template(tuple(compiler.paths), tuple(compiler.references), compiled), compiler.errors


class _Compiler:
    def __init__(self) -> None:
        self.paths: list[tuple[tuple[str | int, ...], str]] = []
        self.references: list[tuple[tuple[str | int, ...], str]] = []
        self.errors: list[TemplateError] = []
        self._loop_sources: dict[str, str] = {}

    def _wrong(self, place: Place, reason: str) -> None:
        self.errors.append(TemplateError(place, reason))

    def node(self, node: Json, place: Place, loops: tuple[str, ...]) -> Node:
        if isinstance(node, dict):
            return self._object(node, place, loops)
        if isinstance(node, list):
            return self._list(node, place, loops)
        if isinstance(node, str):
            return self._text(node, place, loops)
        value = ABSENT if node is None else node
        return literal(value, place)

    def _object(self, node: JsonObject, place: Place, loops: tuple[str, ...]) -> Node:
        if "for_each" in node:
            self._wrong((*place, "for_each"), "'for_each' stands only in an entry of a list")
        conditions = self._conditions(node, place)
        body = {key: value for key, value in node.items() if key not in _VERBS}
        if "is" in body:
            if len(body) > 1 or not conditions:
                self._wrong((*place, "is"), "'is' stands alone with 'if' or 'unless'")
                self._fields({key: value for key, value in body.items() if key != "is"}, place, loops)
            inner = self.node(body["is"], (*place, "is"), loops)
        else:
            inner = self._fields(body, place, loops)
        if not conditions:
            return inner

        def render(scope: Scope) -> Any:
            for look, wanted in conditions:
                if (look(scope) is not ABSENT) is not wanted:
                    return ABSENT
            return inner.render(scope)

        verbs = [
            (verb, node[verb] if isinstance(node[verb], list) else [node[verb]]) for verb in ("if", "unless") if verb in node
        ]

        def trace(scope: Scope, made: Any, within: Within) -> Iterator[Traced]:
            told = tuple(f"{verb} {' or '.join(within.absolute(path.strip()) for path in paths)}" for verb, paths in verbs)
            return inner.trace(scope, made, Within(within.element, within.names, (*within.conditions, *told)))

        return Node(render, trace)

    def _fields(self, body: JsonObject, place: Place, loops: tuple[str, ...]) -> Node:
        compiled: dict[str, Node] = {}
        fixed = set()
        for key, value in body.items():
            before = self._count()
            compiled[key] = self.node(value, (*place, key), loops)
            if before == self._count():
                fixed.add(key)
        pairs = [(key, one.render) for key, one in compiled.items()]

        def trace(scope: Scope, made: Any, within: Within) -> Iterator[Traced]:
            for key, value in made.items():
                yield from compiled[key].trace(scope, value, within.below(key))

        if len(fixed) == len(body):
            return Node(constant(object_of(pairs, {})), trace)

        def render(scope: Scope) -> Any:
            made = object_of(pairs, scope)
            return ABSENT if made is ABSENT or made.keys() <= fixed else made

        return Node(render, trace)

    def _conditions(self, node: JsonObject, place: Place) -> list[tuple[Render, bool]]:
        conditions = []
        for verb, wanted in (("if", True), ("unless", False)):
            if verb in node:
                paths = node[verb] if isinstance(node[verb], list) else [node[verb]]
                if not paths or not all(isinstance(path, str) for path in paths):
                    self._wrong((*place, verb), f"'{verb}' is followed by the path of a value, or by a list of them")
                    paths = [path for path in paths if isinstance(path, str)]
                conditions.append((first_of([self._look(path, (*place, verb)) for path in paths]), wanted))
        return conditions

    def _list(self, node: list[Json], place: Place, loops: tuple[str, ...]) -> Node:
        before = self._count()
        compiled: list[tuple[Loop | None, Node]] = []
        for index, item in enumerate(node):
            if isinstance(item, dict) and "for_each" in item:
                compiled.append(self._loop(item, (*place, index), loops))
            else:
                compiled.append((None, self.node(item, (*place, index), loops)))

        def render(scope: Scope) -> Any:
            return [rendered for *_, rendered in entries(compiled, scope)] or ABSENT

        def trace(scope: Scope, made: Any, within: Within) -> Iterator[Traced]:
            for number, (loop, index, one, inner, rendered) in enumerate(entries(compiled, scope)):
                entry = within.below(number)
                yield from one.trace(inner, rendered, loop.within(entry, index) if loop else entry)

        return Node(constant(render({})) if before == self._count() else render, trace)

    def _loop(self, node: JsonObject, place: Place, loops: tuple[str, ...]) -> tuple[Loop, Node]:
        found = _LOOP.fullmatch(str(node["for_each"]))
        if not found:
            self._wrong((*place, "for_each"), "a loop is written 'for_each: item in list'")
        words = str(node["for_each"]).split() or [""]
        variable, source = found.groups() if found else (words[0], words[-1])
        if variable in self._loop_sources and variable in loops:
            self._wrong((*place, "for_each"), f"'{variable}' is already the name of an outer loop")
        look = self._look(source, (*place, "for_each"))
        outer = self._loop_sources.get(variable)
        self._loop_sources[variable] = self._absolute(source) + "[]"
        body_node = {key: value for key, value in node.items() if key != "for_each"}
        body = self._object(body_node, place, (*loops, variable))
        if outer is None:
            del self._loop_sources[variable]
        else:
            self._loop_sources[variable] = outer
        return Loop(variable, source, look), body

    def _text(self, text: str, place: Place, loops: tuple[str, ...]) -> Node:
        named = _REFERENCE.fullmatch(text)
        if named:
            self.references.append((place, named[1]))
            return filled(reference(named[1], loops), place, (f"@{named[1]}",))
        holes = list(_HOLE.finditer(text))
        if "${" in _HOLE.sub("", text).replace("$${", ""):
            self._wrong(place, f"'{text}': a hole is not closed")
        if not holes:
            return literal(text.replace("$${", "${"), place)
        paths = tuple(hole[1].strip() for hole in holes)
        if len(holes) == 1 and holes[0].group(0) == text:
            look = self._look(holes[0][1], place)
            return filled(lambda scope: fhir_value(look(scope)), place, paths)
        pieces = _HOLE.split(text)
        literals = [piece.replace("$${", "${") for piece in pieces[::2]]
        looks = [self._look(path, place) for path in pieces[1::2]]
        return filled(joined(literals, looks), place, paths)

    def _look(self, path: str, place: tuple[str | int, ...]) -> Render:
        path = path.strip()
        if not _PATH.fullmatch(path):
            self._wrong(place, f"'{path}' is not a path of names with points between them")
            return lookup(("",))
        self.paths.append((place, self._absolute(path)))
        return lookup(tuple(path.split(".")))

    def _count(self) -> int:
        """How many holes were met so far: a subtree that adds none is a literal."""
        return len(self.paths) + len(self.references)

    def _absolute(self, path: str) -> str:
        first, point, rest = path.partition(".")
        return f"{self._loop_sources.get(first, first)}{point}{rest}"
