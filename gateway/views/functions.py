"""The functions of FHIRPath and of SQL on FHIR v2 that paths may call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from gateway.views.path import Environment, Found, Path, compile_node, distinct, focus_of, of_type, same, single, truth
from gateway.views.syntax import Node, UnknownPath

Maker = Callable[[Node, Path, list[Path]], Path]


def compile_call(node: Node) -> Path:
    """Raises :class:`UnknownPath` for a function that is not known or has the wrong number of arguments."""
    name = str(node.value)
    if name in ("ofType", "as"):
        return of_type(node)
    if name == "getReferenceKey":
        return _reference_key(node)
    if name not in _FUNCTIONS:
        raise UnknownPath(f"{name}() is not supported")
    fewest, most, make = _FUNCTIONS[name]
    if not fewest <= len(node.arguments) <= most:
        raise UnknownPath(f"{name}() has {len(node.arguments)} arguments")
    return make(node, focus_of(node), [compile_node(argument) for argument in node.arguments])


def _of_all(work: Callable[[Found], Found]) -> Maker:
    """A function of the whole collection."""
    return lambda _node, focus, _arguments: lambda nodes, env: work(focus(nodes, env))


def _of_text(work: Callable[..., Any]) -> Maker:
    """A function of one text, with arguments that are single values; nothing from nothing."""

    def make(node: Node, focus: Path, arguments: list[Path]) -> Path:
        def call(nodes: Found, env: Environment) -> Found:
            value = single(focus(nodes, env))
            given = [single(argument(nodes, env)) for argument in arguments]
            if value is None or any(item is None for item in given):
                return []
            if not isinstance(value, str):
                raise UnknownPath(f"{node.value}() needs a text")
            answer = work(value, *given)
            return [] if answer is None else [answer]

        return call

    return make


def _where(_node: Node, focus: Path, arguments: list[Path]) -> Path:
    test = arguments[0]
    return lambda nodes, env: [
        item for number, item in enumerate(focus(nodes, env)) if truth(test([item], env.at(item, number))) is True
    ]


def _select(_node: Node, focus: Path, arguments: list[Path]) -> Path:
    path = arguments[0]
    return lambda nodes, env: [
        value for number, item in enumerate(focus(nodes, env)) for value in path([item], env.at(item, number))
    ]


def _exists(node: Node, focus: Path, arguments: list[Path]) -> Path:
    found = _where(node, focus, arguments) if arguments else focus
    return lambda nodes, env: [bool(found(nodes, env))]


def _all(_node: Node, focus: Path, arguments: list[Path]) -> Path:
    test = arguments[0]
    return lambda nodes, env: [
        all(truth(test([item], env.at(item, number))) is True for number, item in enumerate(focus(nodes, env)))
    ]


def _not(_node: Node, focus: Path, _arguments: list[Path]) -> Path:
    def negate(nodes: Found, env: Environment) -> Found:
        value = truth(focus(nodes, env))
        return [] if value is None else [not value]

    return negate


def _join(_node: Node, focus: Path, arguments: list[Path]) -> Path:
    def join(nodes: Found, env: Environment) -> Found:
        between = single(arguments[0](nodes, env)) if arguments else ""
        found = focus(nodes, env)
        return [str(between).join(str(value) for value in found)] if found else []

    return join


def _extension(_node: Node, focus: Path, arguments: list[Path]) -> Path:
    def extension(nodes: Found, env: Environment) -> Found:
        url = single(arguments[0](nodes, env))
        return [
            child
            for item in focus(nodes, env)
            if isinstance(item, Mapping)
            for child in item.get("extension", ())
            if child.get("url") == url
        ]

    return extension


def _iif(_node: Node, focus: Path, arguments: list[Path]) -> Path:
    test, yes, *rest = arguments

    def choose(nodes: Found, env: Environment) -> Found:
        at = focus(nodes, env)
        if truth(test(at, env)) is True:
            return yes(at, env)
        return rest[0](at, env) if rest else []

    return choose


def _resource_key(_node: Node, focus: Path, _arguments: list[Path]) -> Path:
    return lambda nodes, env: [item["id"] for item in focus(nodes, env) if isinstance(item, Mapping) and "id" in item]


def _reference_key(node: Node) -> Path:
    """The key of what a reference points to, as ``getResourceKey()`` of that resource gives it; only of a type, if one is named."""
    if len(node.arguments) > 1 or any(argument.kind != "member" for argument in node.arguments):
        raise UnknownPath("getReferenceKey() takes the name of one resource type")
    kind = str(node.arguments[0].value) if node.arguments else None
    focus = focus_of(node)

    def keys(nodes: Found, env: Environment) -> Found:
        found = []
        for item in focus(nodes, env):
            parts = str(item.get("reference", "")).split("/") if isinstance(item, Mapping) else []
            if len(parts) >= 2 and kind in (None, parts[-2]):
                found.append(parts[-1])
        return found

    return keys


def _resolve(_node: Node, focus: Path, _arguments: list[Path]) -> Path:
    def follow(nodes: Found, env: Environment) -> Found:
        if env.resolve is None:
            return []
        names = [item.get("reference") if isinstance(item, Mapping) else item for item in focus(nodes, env)]
        return [resource for name in names if isinstance(name, str) and (resource := env.resolve(name)) is not None]

    return follow


def _substring(text: str, start: int, length: int | None = None) -> str | None:
    if not 0 <= start < len(text):
        return None
    return text[start:] if length is None else text[start : start + length]


def _to_decimal(_node: Node, focus: Path, _arguments: list[Path]) -> Path:
    return lambda nodes, env: [Decimal(value) for value in focus(nodes, env) if isinstance(value, int | Decimal)]


def _single(found: Found) -> Found:
    single(found)
    return found


_FUNCTIONS: Mapping[str, tuple[int, int, Maker]] = {
    "where": (1, 1, _where),
    "select": (1, 1, _select),
    "exists": (0, 1, _exists),
    "all": (1, 1, _all),
    "not": (0, 0, _not),
    "empty": (0, 0, _of_all(lambda found: [not found])),
    "count": (0, 0, _of_all(lambda found: [len(found)])),
    "first": (0, 0, _of_all(lambda found: found[:1])),
    "last": (0, 0, _of_all(lambda found: found[-1:])),
    "tail": (0, 0, _of_all(lambda found: found[1:])),
    "single": (0, 0, _of_all(_single)),
    "distinct": (0, 0, _of_all(distinct)),
    "isDistinct": (0, 0, _of_all(lambda found: [len(distinct(found)) == len(found)])),
    "allTrue": (0, 0, _of_all(lambda found: [all(same(item, True) for item in found)])),
    "toString": (0, 0, _of_all(lambda found: [] if not found else [str(single(found))])),
    "toDecimal": (0, 0, _to_decimal),
    "join": (0, 1, _join),
    "extension": (1, 1, _extension),
    "iif": (2, 3, _iif),
    "getResourceKey": (0, 0, _resource_key),
    "resolve": (0, 0, _resolve),
    "startsWith": (1, 1, _of_text(lambda text, part: text.startswith(str(part)))),
    "endsWith": (1, 1, _of_text(lambda text, part: text.endswith(str(part)))),
    "contains": (1, 1, _of_text(lambda text, part: str(part) in text)),
    "replace": (2, 2, _of_text(lambda text, old, new: text.replace(str(old), str(new)))),
    "substring": (1, 2, _of_text(_substring)),
    "lower": (0, 0, _of_text(lambda text: text.lower())),
    "upper": (0, 0, _of_text(lambda text: text.upper())),
    "trim": (0, 0, _of_text(lambda text: text.strip())),
    "length": (0, 0, _of_text(lambda text: len(text))),
}
