"""JSON values for people: numbers as they were written, never as Python prints them."""

from __future__ import annotations

from gateway.model import Json
from gateway.r4.canonical import encode


def plain(value: Json) -> str:
    """A text as it is, anything else as JSON with exact decimals; ``nothing`` where there is none."""
    if value is None:
        return "nothing"
    return value if isinstance(value, str) else encode(value).decode()


def quoted(value: Json) -> str:
    """As :func:`plain`, with texts in quotes, so that ``"481"`` and ``481`` are told apart."""
    return encode(value).decode()
