"""Random words that name requests and records. The system is asked for many at once: each question costs what a look-up does."""

from __future__ import annotations

import os

_BYTES, _AT_ONCE = 16, 256
_WAITING: list[bytes] = []


def token() -> str:
    """32 hexadecimal digits that nobody can guess. Never twice the same, also not in a fork: only roles that serve call it."""
    try:
        return _WAITING.pop().hex()
    except IndexError:
        drawn = os.urandom(_BYTES * _AT_ONCE)
        _WAITING.extend(drawn[start : start + _BYTES] for start in range(0, len(drawn), _BYTES))
        return _WAITING.pop().hex()


os.register_at_fork(after_in_child=_WAITING.clear)
