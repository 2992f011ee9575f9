"""Patterns for whole values, in any case: exact texts, texts with ``*``, and RE2 regular expressions. All in linear time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2

_LONGEST = 1000
#: What RE2 may use for one compiled pattern, in bytes.
_MEMORY = 1 << 20


class PatternError(ValueError):
    """A pattern that cannot be right, with the reason."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern as it was written. Equal writings are equal patterns."""

    text: str
    is_regex: bool = False

    @property
    def is_exact(self) -> bool:
        """True when it stands for one text only."""
        return not self.is_regex and "*" not in self.text

    def fits(self, value: str) -> bool:
        """Whether the whole value fits."""
        if self.is_exact:
            return value.casefold() == self.text.casefold()
        return _compiled(self.text, self.is_regex).fullmatch(value) is not None


def starred(text: str) -> Pattern:
    """A text with ``*`` for anything. Raises :class:`PatternError`."""
    if len(text) > _LONGEST:
        raise PatternError(f"a pattern has at most {_LONGEST} letters")
    return Pattern(text)


def regex(text: Any) -> Pattern:
    """An RE2 regular expression. Raises :class:`PatternError` for one that RE2 does not know: back references, look-around."""
    if not isinstance(text, str) or not text:
        raise PatternError("a regular expression is a text")
    if len(text) > _LONGEST:
        raise PatternError(f"a regular expression has at most {_LONGEST} letters")
    try:
        _compiled(text, True)
    except re2.error as error:
        told = error.args[0]
        reason = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
        raise PatternError(f"not a regular expression of RE2: {reason}") from error
    return Pattern(text, is_regex=True)


@lru_cache(maxsize=4096)
def _compiled(text: str, is_regex: bool) -> Any:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = _MEMORY
    options.dot_nl = True
    return re2.compile(text if is_regex else ".*".join(map(re2.escape, text.split("*"))), options)
