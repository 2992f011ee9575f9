"""One sentence that the next page shows: what came of a button. Kept here under a random name, so that no address holds words."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass

_MOST = 200


@dataclass(frozen=True, slots=True)
class Note:
    text: str
    good: bool


class Notes:
    def __init__(self) -> None:
        self._notes: OrderedDict[str, Note] = OrderedDict()

    def leave(self, text: str, *, good: bool = True) -> str:
        """Keep a note. Returns its name."""
        name = secrets.token_urlsafe(9)
        self._notes[name] = Note(text, good)
        while len(self._notes) > _MOST:
            self._notes.popitem(last=False)
        return name

    def take(self, name: str | None) -> Note | None:
        """The note of that name, once."""
        return self._notes.pop(name, None) if name else None
