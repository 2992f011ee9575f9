"""Short text of strangers on its way into rows and logs."""

from __future__ import annotations


def printable(text: str) -> str:
    """``text`` with a question mark for every control character: some databases refuse them, and no terminal should see them."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)
