"""What lint says: one sentence per mistake, with file, line and column, and the nearest right word."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from gateway.yamlfile import Document, Place


@dataclass(frozen=True, slots=True, order=True)
class Complaint:
    """One mistake in a mapping file."""

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.text}"


def counted(number: int, word: str) -> str:
    """``1 complaint``, ``2 complaints``."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def complain(document: Document, place: Place, text: str) -> Complaint:
    """A complaint about a place in a file, or about the nearest one above it that has a position."""
    file, line, column = document.where(place).rsplit(":", 2)
    return Complaint(file, int(line), int(column), text)


def from_text(shown: str, line: str) -> Complaint:
    """A complaint of the YAML reader, its position kept."""
    parts = line.removeprefix(f"{shown}:").split(":", 2)
    if len(parts) == 3 and parts[0].isdigit() and parts[1].isdigit():
        return Complaint(shown, int(parts[0]), int(parts[1]), parts[2].strip())
    if parts[0].isdigit():
        return Complaint(shown, int(parts[0]), 1, ":".join(parts[1:]).strip())
    return Complaint(shown, 1, 1, line.removeprefix(f"{shown}:").strip())


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'X'?)`` when a known word is near, else nothing."""
    known = list(known)
    before, colon, behind = word.partition(":")
    if colon and behind and before in known:
        return f" (a space belongs behind '{before}:')"
    near = nearest(word, known)
    return f" (did you mean '{near}'?)" if near else ""


def as_meant(words: Mapping[str, Any], known: Collection[str]) -> dict[str, str]:
    """Of the words that are not known those that surely stand for a known one, which is not written besides: meant -> written."""
    meant: dict[str, str] = {}
    for word in words:
        near = nearest(word, known) if word not in known else None
        if near and near not in words:
            meant.setdefault(near, word)
    return meant


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant: the same in other case, else the one that differs least."""
    folded = {other.casefold(): other for other in known}
    near = get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    return folded.get(word.casefold()) or (folded[near[0]] if near else None)
