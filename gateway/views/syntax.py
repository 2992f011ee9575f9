"""Reads the part of FHIRPath that ViewDefinitions use (FHIRPath 2.0 grammar) into a tree. Pure; refuses what it does not know."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

MAX_DEPTH = 40
MAX_CHARS = 4000

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<text>'(?:[^'\\]|\\.)*')|(?P<name>[A-Za-z_]\w*|`[^`]+`)|(?P<variable>[%$][A-Za-z_]\w*)"
    r"|(?P<sign><=|>=|!=|[.()\[\],{}=<>+\-*/&|]))"
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}
#: Binding strength of the operators, weakest first.
_LEVELS: Sequence[frozenset[str]] = (
    frozenset({"implies"}),
    frozenset({"or", "xor"}),
    frozenset({"and"}),
    frozenset({"in", "contains"}),
    frozenset({"=", "!="}),
    frozenset({"<", ">", "<=", ">="}),
    frozenset({"|"}),
    frozenset({"+", "-", "&"}),
    frozenset({"*", "/", "div", "mod"}),
)


class UnknownPath(ValueError):
    """The path is wrong, or uses something that is not supported."""


@dataclass(frozen=True, slots=True)
class Node:
    """``kind``: literal, empty, variable, member, call, index, operator, negative. ``on`` is what it is applied to."""

    kind: str
    value: Any = None
    on: Node | None = None
    arguments: tuple[Node, ...] = ()


def parse(text: str) -> Node:
    """Raises :class:`UnknownPath`."""
    if len(text) > MAX_CHARS:
        raise UnknownPath(f"a path is longer than {MAX_CHARS} characters")
    reader = _Reader(text)
    tree = reader.expression(0)
    if reader.token[0] != "end":
        raise reader.wrong()
    return tree


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._depth = 0
        self.token: tuple[str, str] = ("", "")
        self._advance()

    def wrong(self) -> UnknownPath:
        return UnknownPath(f"not understood at '{self.token[1][:20] or 'the end'}' in: {self._text[:200]}")

    def expression(self, level: int) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH * len(_LEVELS):
            raise UnknownPath("a path is nested too deeply")
        if level == len(_LEVELS):
            found = self._unary()
        else:
            found = self.expression(level + 1)
            while self.token[0] in ("sign", "name") and self.token[1] in _LEVELS[level]:
                operator = self._take()
                found = Node("operator", operator, None, (found, self.expression(level + 1)))
        self._depth -= 1
        return found

    def _unary(self) -> Node:
        if self.token == ("sign", "-"):
            self._take()
            return Node("negative", None, self._unary())
        found = self._term()
        while True:
            if self.token == ("sign", "."):
                self._take()
                found = self._member(found)
            elif self.token == ("sign", "["):
                self._take()
                found = Node("index", None, found, (self.expression(0),))
                self._expect("]")
            elif self.token in (("name", "as"), ("name", "is")):
                found = Node("call", self._take(), found, (Node("member", self._name()),))
            else:
                return found

    def _term(self) -> Node:
        kind, word = self.token
        literals: dict[str, Callable[[str], Any]] = {"number": _number, "text": _unquoted}
        if kind in literals:
            self._take()
            return Node("literal", literals[kind](word))
        if kind == "variable":
            self._take()
            return Node("variable", word)
        if kind == "name" and word in ("true", "false"):
            self._take()
            return Node("literal", word == "true")
        if kind == "name":
            return self._member(None)
        if word == "(":
            self._take()
            inner = self.expression(0)
            self._expect(")")
            return inner
        if word == "{":
            self._take()
            self._expect("}")
            return Node("empty")
        raise self.wrong()

    def _member(self, on: Node | None) -> Node:
        name = self._name()
        if self.token != ("sign", "("):
            return Node("member", name, on)
        self._take()
        arguments: list[Node] = []
        while self.token != ("sign", ")"):
            arguments.append(self.expression(0))
            if self.token == ("sign", ","):
                self._take()
            elif self.token != ("sign", ")"):
                raise self.wrong()
        self._take()
        return Node("call", name, on, tuple(arguments))

    def _name(self) -> str:
        if self.token[0] != "name":
            raise self.wrong()
        return self._take().strip("`")

    def _expect(self, sign: str) -> None:
        if self.token != ("sign", sign):
            raise self.wrong()
        self._take()

    def _take(self) -> str:
        word = self.token[1]
        self._advance()
        return word

    def _advance(self) -> None:
        if not self._text[self._position :].strip():
            self.token = ("end", "")
            return
        match = _TOKEN.match(self._text, self._position)
        if match is None:
            self.token = ("wrong", self._text[self._position :].strip())
            return
        self._position = match.end()
        kind = str(match.lastgroup)
        self.token = (kind, match[kind])


def _number(word: str) -> int | Decimal:
    return Decimal(word) if "." in word else int(word)


def _unquoted(word: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), word[1:-1])
