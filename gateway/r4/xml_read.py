"""Reads FHIR XML (R4 xml.html) into the tree that JSON has: the reverse of :mod:`gateway.r4.xml_write`.

A document with a DOCTYPE is refused, as R4 asks (xml.html#xml: no entities, no bombs). Unknown elements are refused too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any
from xml.parsers import expat

from gateway.model import JsonObject
from gateway.r4 import definitions
from gateway.r4.definitions import PRIMITIVES
from gateway.r4.xml_write import FHIR_NAMESPACE, XHTML_NAMESPACE, escaped

MAX_DEPTH = 100
_INTEGERS = frozenset({"integer", "positiveInt", "unsignedInt"})
_BOOLEANS = {"true": True, "false": False}


@dataclass(slots=True)
class _Node:
    """An element as the parser met it; ``xhtml`` holds a whole narrative."""

    name: str
    attributes: dict[str, str]
    children: list[_Node] = field(default_factory=list)
    xhtml: str = ""


def from_xml(document: bytes) -> JsonObject:
    """The resource of an XML document. Raises ``ValueError``, with no value quoted, when it is no FHIR resource."""
    return _resource(_Reader().read(document))


class _Reader:
    """Builds nodes from the events of the parser."""

    def __init__(self) -> None:
        self._root = _Node("", {})
        self._stack = [self._root]
        self._div: list[str] = []
        self._div_depth = 0

    def read(self, document: bytes) -> _Node:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        try:
            parser.Parse(document, True)
        except expat.ExpatError as error:
            raise ValueError(f"not well-formed XML (line {error.lineno})") from error
        return self._root.children[0]

    def _refuse_doctype(self, *_declaration: Any) -> None:
        raise ValueError("a document type declaration is not allowed")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        if len(self._stack) + self._div_depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        if namespace == XHTML_NAMESPACE:
            opening = "".join(f' {key}="{escaped(value)}"' for key, value in attributes.items())
            own = f' xmlns="{XHTML_NAMESPACE}"' if self._div_depth == 0 else ""
            self._div.append(f"<{local}{own}{opening}>")
            self._div_depth += 1
            return
        if namespace != FHIR_NAMESPACE or self._div_depth:
            raise ValueError("an element is outside the namespace of FHIR")
        node = _Node(local, attributes)
        self._stack[-1].children.append(node)
        self._stack.append(node)

    def _end(self, name: str) -> None:
        if not self._div_depth:
            self._stack.pop()
            return
        self._div_depth -= 1
        self._div.append(f"</{name.rpartition(' ')[2]}>")
        if self._div_depth == 0:
            self._stack[-1].children.append(_Node("div", {}, xhtml="".join(self._div)))
            self._div = []

    def _text(self, text: str) -> None:
        if self._div_depth:
            self._div.append(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
        elif text.strip():
            raise ValueError("text stands where FHIR has elements only")


def _resource(node: _Node) -> JsonObject:
    if node.name not in definitions.resource_types():
        raise ValueError("the document is no resource of a type that is known here")
    return {"resourceType": node.name, **_object(node, node.name)}


def _object(node: _Node, kind: str) -> JsonObject:
    tree: JsonObject = dict(node.attributes)
    known = {
        key: (kind, element.many) for element in definitions.elements()[kind].values() for key, kind in element.keys().items()
    }
    if not tree.keys() <= known.keys() | {"value"}:
        raise ValueError("an attribute is not one of FHIR")
    for child in node.children:
        if child.name not in known:
            raise ValueError(f"{kind} has no element of this name")
        child_kind, many = known[child.name]
        if child_kind in PRIMITIVES:
            _add_primitive(tree, child, child_kind, many)
        else:
            _add(tree, child.name, _value(child, child_kind), many)
    return tree


def _value(node: _Node, kind: str) -> JsonObject:
    if kind != "Resource":
        return _object(node, kind)
    if len(node.children) != 1:
        raise ValueError("exactly one resource belongs here")
    return _resource(node.children[0])


def _add(tree: JsonObject, key: str, value: Any, many: bool) -> None:
    if many:
        tree.setdefault(key, []).append(value)
    elif key in tree:
        raise ValueError("an element that occurs once is there twice")
    else:
        tree[key] = value


def _add_primitive(tree: JsonObject, node: _Node, kind: str, many: bool) -> None:
    """``value`` goes under the name, id and extensions under ``_name``; lists of both stay in step with nulls."""
    value = _scalar(node, kind)
    beside = _object(_Node(node.name, {k: v for k, v in node.attributes.items() if k != "value"}, node.children), "Element")
    if not many:
        if value is not None:
            _add(tree, node.name, value, many=False)
        if beside:
            _add(tree, f"_{node.name}", beside, many=False)
        return
    counted = max(len(tree.get(node.name, ())), len(tree.get(f"_{node.name}", ())))
    for key, part in ((node.name, value), (f"_{node.name}", beside or None)):
        if part is not None:
            tree.setdefault(key, [])
        if key in tree:
            tree[key] += [None] * (counted - len(tree[key])) + [part]


def _scalar(node: _Node, kind: str) -> Any:
    if kind == "xhtml":
        return node.xhtml
    text = node.attributes.get("value")
    if text is None:
        return None
    try:
        if kind in _INTEGERS:
            return int(text)
        if kind == "decimal":
            return Decimal(text)
        return _BOOLEANS[text] if kind == "boolean" else text
    except (KeyError, ValueError, InvalidOperation) as error:
        raise ValueError(f"a {kind} has not the form of one") from error
