"""Compiles a FHIRPath tree into a function from a node to the values found, for FHIR JSON with exact decimals.

What is compiled is the subset that SQL on FHIR v2 asks for, with ``resolve()``. A choice element is named by its stem
(``value.ofType(Quantity)``). Dates compare as text, so only equality is offered for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, DivisionByZero, InvalidOperation
from functools import cache
from typing import Any

from gateway.r4 import definitions
from gateway.views.syntax import Node, UnknownPath, parse

#: From a reference (``Type/id``) to the resource, or None.
Resolver = Callable[[str], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Environment:
    """What a path can see beside its node: constants by name, the index of the row, how references are followed."""

    constants: Mapping[str, Any] = field(default_factory=dict)
    row_index: int = 0
    this: Any = None
    index: int = 0
    resolve: Resolver | None = None
    root: Any = None

    def row(self, this: Any, number: int) -> Environment:
        """For one of the nodes that rows are made of."""
        return Environment(self.constants, number, this, number, self.resolve, self.root)

    def at(self, this: Any, index: int) -> Environment:
        return Environment(self.constants, self.row_index, this, index, self.resolve, self.root)


Found = list[Any]
Path = Callable[[Found, Environment], Found]


def compile_path(text: str) -> Path:
    """Raises :class:`UnknownPath` for what is wrong or not supported."""
    return compile_node(parse(text))


def compile_node(node: Node) -> Path:
    return _COMPILERS[node.kind](node)


def focus_of(node: Node) -> Path:
    """What the node is applied to; without anything, the place where the path starts."""
    return compile_node(node.on) if node.on else lambda nodes, _env: nodes


def _literal(node: Node) -> Path:
    value = [node.value]
    return lambda _nodes, _env: value


def _empty(_node: Node) -> Path:
    return lambda _nodes, _env: []


def _variable(node: Node) -> Path:
    name = str(node.value)
    special: dict[str, Path] = {
        "$this": lambda nodes, env: nodes if env.this is None else [env.this],
        "$index": lambda _nodes, env: [env.index],
        "%rowIndex": lambda _nodes, env: [env.row_index],
        "%resource": lambda _nodes, env: [env.root],
        "%context": lambda _nodes, env: [env.root],
    }
    if name in special:
        return special[name]
    if name.startswith("$"):
        raise UnknownPath(f"{name} is not supported")
    key = name[1:]

    def constant(_nodes: Found, env: Environment) -> Found:
        if key not in env.constants:
            raise UnknownPath(f"%{key} is not a constant of this view")
        value = env.constants[key]
        return [] if value is None else [value]

    return constant


def _member(node: Node) -> Path:
    name = str(node.value)
    if node.on is None and name in definitions.resource_types():
        return lambda nodes, _env: [item for item in nodes if isinstance(item, Mapping) and item.get("resourceType") == name]
    return _step(focus_of(node), (name,), tuple(_choice_keys().get(name, {}).values()))


def _step(focus: Path, keys: tuple[str, ...], typed: tuple[str, ...] = ()) -> Path:
    """The members of these names; those of the choice (``typed``) where none of that name is there."""

    def step(nodes: Found, env: Environment) -> Found:
        found: Found = []
        for item in focus(nodes, env):
            if not isinstance(item, Mapping):
                continue
            for key in keys if keys[0] in item else typed:
                value = item.get(key)
                if value is None:
                    continue
                if isinstance(value, list):
                    found.extend(child for child in value if child is not None)
                else:
                    found.append(value)
        return found

    return step


def of_type(node: Node) -> Path:
    """``value.ofType(Quantity)``: the typed key of a choice; else only types that JSON itself tells apart."""
    if len(node.arguments) != 1 or node.arguments[0].kind != "member":
        raise UnknownPath(f"{node.value} needs the name of a type")
    kind = str(node.arguments[0].value)
    before = node.on
    if before is not None and before.kind == "member" and kind in _choice_keys().get(str(before.value), {}):
        return _step(focus_of(before), (_choice_keys()[str(before.value)][kind],))
    focus = focus_of(node)
    checks: dict[str, Callable[[Any], bool]] = {
        "boolean": lambda item: isinstance(item, bool),
        "string": lambda item: isinstance(item, str),
        "integer": lambda item: isinstance(item, int) and not isinstance(item, bool),
        "decimal": lambda item: isinstance(item, Decimal),
    }
    if kind in definitions.resource_types():
        checks[kind] = lambda item: isinstance(item, Mapping) and item.get("resourceType") == kind
    if kind not in checks:
        raise UnknownPath(f"ofType({kind}) is only supported on a choice of types, like value.ofType({kind})")
    check = checks[kind]
    return lambda nodes, env: [item for item in focus(nodes, env) if check(item)]


@cache
def _choice_keys() -> Mapping[str, Mapping[str, str]]:
    """Stem of a choice -> type -> JSON key: ``{"value": {"Quantity": "valueQuantity", ...}}``."""
    found: dict[str, dict[str, str]] = {}
    for elements in definitions.elements().values():
        for name, element in elements.items():
            if element.is_choice:
                found.setdefault(name[:-3], {}).update({kind: key for key, kind in element.keys().items()})
    return found


def _index(node: Node) -> Path:
    focus, number = focus_of(node), compile_node(node.arguments[0])

    def pick(nodes: Found, env: Environment) -> Found:
        at, found = single(number(nodes, env)), focus(nodes, env)
        return found[at : at + 1] if isinstance(at, int) and at >= 0 else []

    return pick


def _negative(node: Node) -> Path:
    inner = focus_of(node)
    return lambda nodes, env: [-value for value in inner(nodes, env)]


def single(found: Found) -> Any:
    """The one value, or None. Raises :class:`UnknownPath` when there are several."""
    if len(found) > 1:
        raise UnknownPath("one value is needed where there are several")
    return found[0] if found else None


def truth(found: Found) -> bool | None:
    """FHIRPath's singleton rule: one value that is no boolean counts as true; None is neither true nor false."""
    value = single(found)
    return value if value is None or isinstance(value, bool) else True


def same(left: Any, right: Any) -> bool:
    """Equal by value; a truth value equals no number."""
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _operator(node: Node) -> Path:
    left, right = (compile_node(argument) for argument in node.arguments)
    name = str(node.value)
    if name in _LOGIC:
        logic = _LOGIC[name]
        return lambda nodes, env: _as_list(logic(truth(left(nodes, env)), truth(right(nodes, env))))
    if name in ("=", "!="):
        return _equality(left, right, wanted=name == "=")
    if name == "|":
        return lambda nodes, env: distinct(left(nodes, env) + right(nodes, env))
    if name in ("in", "contains"):
        one, many = (left, right) if name == "in" else (right, left)
        return _membership(one, many)
    binary = _BINARY[name]

    def apply(nodes: Found, env: Environment) -> Found:
        first, second = single(left(nodes, env)), single(right(nodes, env))
        if name == "&":
            return [f"{_text(first)}{_text(second)}"]
        if first is None or second is None:
            return []
        if isinstance(first, str) != isinstance(second, str):
            raise UnknownPath(f"'{name}' is between a text and a number")
        try:
            return [binary(first, second)]
        except (DivisionByZero, InvalidOperation, ZeroDivisionError):
            return []

    return apply


def _equality(left: Path, right: Path, *, wanted: bool) -> Path:
    def equal(nodes: Found, env: Environment) -> Found:
        first, second = left(nodes, env), right(nodes, env)
        if not first or not second:
            return []
        matches = len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
        return [matches == wanted]

    return equal


def _membership(one: Path, many: Path) -> Path:
    def member(nodes: Found, env: Environment) -> Found:
        value = single(one(nodes, env))
        return [] if value is None else [any(same(value, item) for item in many(nodes, env))]

    return member


def distinct(values: Found) -> Found:
    kept: Found = []
    for value in values:
        if not any(same(value, other) for other in kept):
            kept.append(value)
    return kept


def _and(left: bool | None, right: bool | None) -> bool | None:
    return False if left is False or right is False else None if left is None or right is None else True


def _or(left: bool | None, right: bool | None) -> bool | None:
    return True if left or right else None if left is None or right is None else False


def _as_list(value: bool | None) -> Found:
    return [] if value is None else [value]


def _text(value: Any) -> str:
    return "" if value is None else str(value)


_LOGIC: Mapping[str, Callable[[bool | None, bool | None], bool | None]] = {
    "and": _and,
    "or": _or,
    "xor": lambda left, right: None if left is None or right is None else left != right,
    "implies": lambda left, right: _or(None if left is None else not left, right),
}
_BINARY: Mapping[str, Callable[[Any, Any], Any]] = {
    "&": lambda a, b: a,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: Decimal(a) / Decimal(b),
    "div": lambda a, b: int(Decimal(a) // Decimal(b)),
    "mod": lambda a, b: a % b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


def _call(node: Node) -> Path:
    from gateway.views.functions import compile_call

    return compile_call(node)


_COMPILERS: Mapping[str, Callable[[Node], Path]] = {
    "literal": _literal,
    "empty": _empty,
    "variable": _variable,
    "member": _member,
    "call": _call,
    "index": _index,
    "operator": _operator,
    "negative": _negative,
}
