"""FHIR templates: literal FHIR with holes, compiled once to closures. What is absent prunes the element around it.

The rules, all of them:

* ``${study.uid}`` as a whole string keeps the value's type; inside longer text it becomes text. Absent: the element goes.
* Objects and lists that become empty go as well, upwards. So does an object whose holes are all empty: a system without
  its code, a component without its value. An object of nothing but literals stays.
* ``- {for_each: s in series, uid: "${s.uid}"}`` in a list makes one entry per item; the other keys are its body.
* ``if: path`` / ``unless: path`` in an object keep it only when the path has a value / has none; of a list of paths, when one
  has a value / none has. With ``is: value`` beside them, that value stands there instead of an object.
* ``reference: "@device"`` is looked up in ``refs``: of the innermost loop item that has that name, else of the scope.
* ``{value, unit}`` becomes a Quantity in UCUM; ``{system, code, text}`` a CodeableConcept, without ``display``, because validators
  compare displays with the code system's own words.
* ``$${`` writes a literal ``${``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gateway.model import Json, JsonObject

UCUM = "http://unitsofmeasure.org"
_HOLE = re.compile(r"(?<!\$)\$\{([^{}]*)\}")
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_LOOP = re.compile(r"([a-z]\w*) in ([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")
_REFERENCE = re.compile(r"@([a-z_]\w*)")
_VERBS = ("for_each", "if", "unless")


class _Absent:
    """No value here: prune."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()
Scope = dict[str, Any]
_Render = Callable[[Scope], Any]


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
    _render: _Render

    def render(self, scope: Scope) -> JsonObject | None:
        """Fill in. ``None`` when nothing is left. Parts without holes are shared between results: treat results as read-only."""
        rendered = self._render(scope)
        return None if rendered is ABSENT else rendered


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceTemplate:
    """One resource a mapping makes: once per ``per``, told apart by ``identity``."""

    name: str
    per: str
    identity: tuple[Template, ...]
    body: Template
    resource_type: str

    def identify(self, scope: Scope) -> tuple[str, ...] | None:
        """The business key within the resource type; absent parts are empty. ``None`` when all holes are: no resource then."""
        parts = tuple(str(part.render(scope) or "") for part in self.identity)
        told = [part for part, template in zip(parts, self.identity, strict=True) if template.paths]
        return parts if any(told or parts) else None


def compile_template(node: Json) -> Template:
    """Compile a template. Raises :class:`TemplateError` for the first thing that is wrong."""
    compiler = _Compiler()
    render = compiler.node(node, (), ())
    return Template(tuple(compiler.paths), tuple(compiler.references), render)


def fhir_value(value: Json) -> Json:
    """Our JSON shapes as FHIR datatypes: quantity and concept; anything else as it is."""
    if isinstance(value, dict):
        keys = value.keys()
        if keys == {"value", "unit"}:
            return {"value": value["value"], "unit": value["unit"], "system": UCUM, "code": value["unit"]}
        if "text" in keys and keys <= {"system", "code", "text"}:
            coding = {key: value[key] for key in ("system", "code") if key in value}
            return {"coding": [coding], "text": value["text"]} if coding else {"text": value["text"]}
    if isinstance(value, list):
        return [fhir_value(item) for item in value]
    return value


class _Compiler:
    def __init__(self) -> None:
        self.paths: list[tuple[tuple[str | int, ...], str]] = []
        self.references: list[tuple[tuple[str | int, ...], str]] = []
        self._loop_sources: dict[str, str] = {}

    def node(self, node: Json, place: tuple[str | int, ...], loops: tuple[str, ...]) -> _Render:
        if isinstance(node, dict):
            return self._object(node, place, loops)
        if isinstance(node, list):
            return self._list(node, place, loops)
        if isinstance(node, str):
            return self._text(node, place, loops)
        value = ABSENT if node is None else node
        return lambda scope: value

    def _object(self, node: JsonObject, place: tuple[str | int, ...], loops: tuple[str, ...]) -> _Render:
        if "for_each" in node:
            raise TemplateError((*place, "for_each"), "'for_each' stands only in an entry of a list")
        conditions = self._conditions(node, place)
        body = {key: value for key, value in node.items() if key not in _VERBS}
        if "is" in body:
            if len(body) > 1 or not conditions:
                raise TemplateError((*place, "is"), "'is' stands alone with 'if' or 'unless'")
            render = self.node(body["is"], (*place, "is"), loops)
        else:
            render = self._fields(body, place, loops)
        if not conditions:
            return render

        def conditional(scope: Scope) -> Any:
            for look, wanted in conditions:
                if (look(scope) is not ABSENT) is not wanted:
                    return ABSENT
            return render(scope)

        return conditional

    def _fields(self, body: JsonObject, place: tuple[str | int, ...], loops: tuple[str, ...]) -> _Render:
        compiled, fixed = [], set()
        for key, value in body.items():
            before = self._count()
            compiled.append((key, self.node(value, (*place, key), loops)))
            if before == self._count():
                fixed.add(key)
        if len(fixed) == len(body):
            return _constant(_object_of(compiled, {}))

        def render(scope: Scope) -> Any:
            made = _object_of(compiled, scope)
            return ABSENT if made is ABSENT or made.keys() <= fixed else made

        return render

    def _conditions(self, node: JsonObject, place: tuple[str | int, ...]) -> list[tuple[_Render, bool]]:
        conditions = []
        for verb, wanted in (("if", True), ("unless", False)):
            if verb in node:
                paths = node[verb] if isinstance(node[verb], list) else [node[verb]]
                if not paths or not all(isinstance(path, str) for path in paths):
                    raise TemplateError((*place, verb), f"'{verb}' is followed by the path of a value, or by a list of them")
                conditions.append((_first_of([self._look(path, (*place, verb)) for path in paths]), wanted))
        return conditions

    def _list(self, node: list[Json], place: tuple[str | int, ...], loops: tuple[str, ...]) -> _Render:
        before = self._count()
        compiled: list[tuple[bool, _Render]] = []
        for index, item in enumerate(node):
            if isinstance(item, dict) and "for_each" in item:
                compiled.append((True, self._loop(item, (*place, index), loops)))
            else:
                compiled.append((False, self.node(item, (*place, index), loops)))

        def render(scope: Scope) -> Any:
            made: list[Any] = []
            for many, one in compiled:
                rendered = one(scope)
                if many:
                    made += rendered
                elif rendered is not ABSENT:
                    made.append(rendered)
            return made or ABSENT

        return _constant(render({})) if before == self._count() else render

    def _loop(self, node: JsonObject, place: tuple[str | int, ...], loops: tuple[str, ...]) -> _Render:
        found = _LOOP.fullmatch(str(node["for_each"]))
        if not found:
            raise TemplateError((*place, "for_each"), "a loop is written 'for_each: item in list'")
        variable, source = found.groups()
        if variable in self._loop_sources and variable in loops:
            raise TemplateError((*place, "for_each"), f"'{variable}' is already the name of an outer loop")
        look = self._look(source, (*place, "for_each"))
        outer = self._loop_sources.get(variable)
        self._loop_sources[variable] = self._absolute(source) + "[]"
        body_node = {key: value for key, value in node.items() if key != "for_each"}
        body = self._object(body_node, place, (*loops, variable))
        if outer is None:
            del self._loop_sources[variable]
        else:
            self._loop_sources[variable] = outer

        def render(scope: Scope) -> list[Any]:
            items = look(scope)
            made = []
            for item in () if items is ABSENT else items:
                rendered = body({**scope, variable: item})
                if rendered is not ABSENT:
                    made.append(rendered)
            return made

        return render

    def _text(self, text: str, place: tuple[str | int, ...], loops: tuple[str, ...]) -> _Render:
        reference = _REFERENCE.fullmatch(text)
        if reference:
            self.references.append((place, reference[1]))
            return _reference(reference[1], loops)
        holes = list(_HOLE.finditer(text))
        if "${" in _HOLE.sub("", text).replace("$${", ""):
            raise TemplateError(place, f"'{text}': a hole is not closed")
        if not holes:
            value = text.replace("$${", "${")
            return lambda scope: value
        if len(holes) == 1 and holes[0].group(0) == text:
            look = self._look(holes[0][1], place)
            return lambda scope: fhir_value(look(scope))
        pieces = _HOLE.split(text)
        literals = [piece.replace("$${", "${") for piece in pieces[::2]]
        looks = [self._look(path, place) for path in pieces[1::2]]
        return _joined(literals, looks)

    def _look(self, path: str, place: tuple[str | int, ...]) -> _Render:
        path = path.strip()
        if not _PATH.fullmatch(path):
            raise TemplateError(place, f"'{path}' is not a path of names with points between them")
        self.paths.append((place, self._absolute(path)))
        return _lookup(tuple(path.split(".")))

    def _count(self) -> int:
        """How many holes were met so far: a subtree that adds none is a literal."""
        return len(self.paths) + len(self.references)

    def _absolute(self, path: str) -> str:
        first, point, rest = path.partition(".")
        return f"{self._loop_sources.get(first, first)}{point}{rest}"


def _constant(value: Any) -> _Render:
    return lambda scope: value


def _object_of(compiled: list[tuple[str, _Render]], scope: Scope) -> Any:
    made = {}
    for key, render in compiled:
        value = render(scope)
        if value is not ABSENT:
            made[key] = value
    return made or ABSENT


def _lookup(steps: tuple[str, ...]) -> _Render:
    first, rest = steps[0], steps[1:]

    def look(scope: Scope) -> Any:
        value = scope.get(first, ABSENT)
        for step in rest:
            value = value.get(step, ABSENT) if isinstance(value, dict) else ABSENT
        return ABSENT if value is None or value == "" or value == [] or value == {} else value

    return look


def _first_of(looks: list[_Render]) -> _Render:
    return lambda scope: next((value for value in (look(scope) for look in looks) if value is not ABSENT), ABSENT)


def _joined(literals: list[str], looks: list[_Render]) -> _Render:
    def render(scope: Scope) -> Any:
        parts = [literals[0]]
        for look, literal in zip(looks, literals[1:], strict=True):
            value = look(scope)
            if value is ABSENT:
                return ABSENT
            parts += (str(value), literal)
        return "".join(parts)

    return render


def _reference(name: str, loops: tuple[str, ...]) -> _Render:
    inner = loops[::-1]

    def render(scope: Scope) -> Any:
        for variable in inner:
            item = scope[variable]
            refs = item.get("refs") if isinstance(item, dict) else None
            if refs and name in refs:
                return refs[name]
        return scope.get("refs", {}).get(name, ABSENT)

    return render
