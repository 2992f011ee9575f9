"""SMART App Launch 2.2 system scopes (scopes-and-launch-context.html): ``system/Observation.rs``, ``system/*.cruds``.

A scope gives some of five rights on one resource type or on all: create, read, update, delete, search. Read and search are apart: who
may only read has to know the id. The words of version 1 (``.read``, ``.write``, ``.*``) are understood as the rights they stand for.
A scope to read or search may have a query (``system/Observation.rs?category=laboratory``): it is good for what that search finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Verb = Literal["create", "read", "update", "delete", "search"]

#: In the order in which they stand in a scope.
LETTERS: dict[Verb, str] = {"create": "c", "read": "r", "update": "u", "delete": "d", "search": "s"}
_VERSION_1 = {"read": "rs", "write": "cud", "*": "cruds"}
_SCOPE = re.compile(r"system/(\*|[A-Z][A-Za-z]{1,63})\.(c?r?u?d?s?|read|write|\*)(?:\?([!-~]{1,500}))?", re.ASCII)
_MOST = 200

#: Read by nobody who was not given it by name: who accessed what is for those who watch, not for those who are watched.
BY_NAME_ONLY = frozenset({"AuditEvent"})


@dataclass(frozen=True, slots=True)
class Scope:
    """Rights on one type (``*``: on all). ``letters`` is some of ``cruds``, in that order; ``query`` says of which resources."""

    type: str
    letters: str
    query: str = ""

    def __str__(self) -> str:
        return f"system/{self.type}.{self.letters}{f'?{self.query}' if self.query else ''}"

    def allows(self, verb: Verb, kind: str) -> bool:
        covers = self.type == kind or (self.type == "*" and kind not in BY_NAME_ONLY)
        return covers and LETTERS[verb] in self.letters


READ_ALL = (Scope("*", "rs"),)
DO_ALL = (Scope("*", "cruds"),)


def read_scope(text: str) -> Scope:
    """Raises ``ValueError`` with the end of the sentence '<scope> ...'."""
    match = _SCOPE.fullmatch(text)
    if match is None:
        if text.startswith(("patient/", "user/", "launch")):
            raise ValueError("is for apps with a user; programs have system scopes, like system/Observation.rs")
        raise ValueError("is not a scope such as system/Observation.rs or system/*.rs")
    letters = _VERSION_1.get(match[2], match[2])
    if not letters:
        raise ValueError("gives no right; write some of cruds after the dot")
    query = match[3] or ""
    if query and (match[1] == "*" or match[1] in BY_NAME_ONLY):
        raise ValueError("has a query: it must name one type, and not AuditEvent")
    if query and set(letters) & set("cud"):
        raise ValueError("has a query: that limits reading and searching (r, s) only")
    return Scope(match[1], letters, query)


def only_some(scopes: Iterable[Scope]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Of which types only some resources are open: (type, queries, one of which must find it). A type stands twice when it is read and
    searched by different ones: then both hold.
    """
    held = tuple(scopes)
    found: dict[tuple[str, tuple[str, ...]], None] = {}
    verbs: tuple[Verb, ...] = ("read", "search")
    for verb in verbs:
        for kind in sorted({scope.type for scope in held if scope.query and scope.allows(verb, scope.type)}):
            open_by = [scope for scope in held if scope.allows(verb, kind)]
            if all(scope.query for scope in open_by):
                found[kind, tuple(sorted({scope.query for scope in open_by}))] = None
    return tuple(found)


def read_scopes(text: str) -> tuple[Scope, ...]:
    """Scopes with blanks between them (RFC 6749 3.3). Raises ``ValueError`` with one sentence."""
    words = text.split()
    if len(words) > _MOST:
        raise ValueError(f"more than {_MOST} scopes")
    found: list[Scope] = []
    for word in dict.fromkeys(words):
        try:
            found.append(read_scope(word))
        except ValueError as error:
            raise ValueError(f"'{word.partition('?')[0][:80]}' {error}") from error  # a query may name a person
    return tuple(found)


def granted(wanted: Iterable[Scope], held: Iterable[Scope]) -> tuple[Scope, ...]:
    """What is in both: never more than is held, never more than was wanted. Where both have a query, both hold."""
    pairs = [(one, other) for one in wanted for other in held]
    found: dict[tuple[str, str], set[str]] = {}
    for one, other in pairs:
        kind = _common_type(one.type, other.type)
        letters = set(one.letters) & set(other.letters)
        if kind is not None and letters:
            query = "&".join(dict.fromkeys(query for query in (other.query, one.query) if query))
            found.setdefault((kind, query), set()).update(letters)
    return tuple(
        Scope(kind, "".join(letter for letter in "cruds" if letter in letters), query)
        for (kind, query), letters in [*found.items()][:_MOST]
    )


def _common_type(one: str, other: str) -> str | None:
    if one == other:
        return one
    if "*" not in (one, other):
        return None
    named = other if one == "*" else one
    return None if named in BY_NAME_ONLY else named
