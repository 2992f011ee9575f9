"""What lint says: one sentence per mistake, with file, line and column, and the nearest right word."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

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


def complain(document: Document, place: Place, text: str) -> Complaint:
    """A complaint about a place in a file, or about the nearest one above it that has a position."""
    file, line, column = document.where(place).rsplit(":", 2)
    return Complaint(file, int(line), int(column), text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'X'?)`` when a known word is near, else nothing."""
    known = list(known)
    before, colon, behind = word.partition(":")
    if colon and behind and before in known:
        return f" (a space belongs behind '{before}:')"
    near = nearest(word, known)
    return f" (did you mean '{near}'?)" if near else ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant: the same in other case, else the one that differs least."""
    folded = {other.casefold(): other for other in known}
    near = get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    return folded.get(word.casefold()) or (folded[near[0]] if near else None)
