"""The rules of a narrative, txt-1 and txt-2 (R4 narrative.html#xhtml): text with basic formatting, nothing that a page would run or fetch.

Researchers' programs show a narrative as it is; a script in it would run with their rights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from xml.parsers import expat

_XHTML = "http://www.w3.org/1999/xhtml"
#: HTML 4.0 chapters 7 to 11, without forms, scripts, frames and objects, and 15.
_ELEMENTS = re.compile(
    r"a|abbr|acronym|address|b|bdo|big|blockquote|br|caption|center|cite|code|col|colgroup|dd|del|dfn|div|dl|dt|em|font|h[1-6]|hr|i|img|ins|"
    r"kbd|li|ol|p|pre|q|s|samp|small|span|strike|strong|sub|sup|table|tbody|td|tfoot|th|thead|tr|tt|u|ul|var"
)
_ATTRIBUTES = re.compile(
    r"abbr|accesskey|align|alt|axis|bgcolor|border|cellpadding|cellspacing|char|charoff|cite|class|clear|color|colspan|compact|datetime|dir|"
    r"face|frame|headers|height|href|id|lang|longdesc|name|noshade|nowrap|rel|rev|rowspan|rules|scope|size|span|src|start|style|summary|"
    r"tabindex|title|type|valign|value|width|http://www\.w3\.org/XML/1998/namespace lang"
)
_LINKS = frozenset({"href", "src", "cite", "longdesc"})
#: Other addresses are relative, or a place in the resource (``#...``).
_SCHEME = re.compile(r"\s*([a-z][a-z0-9+.\-]*):", re.IGNORECASE)
_SCHEMES = frozenset({"http", "https", "mailto", "tel", "urn", "cid"})
_IMAGE = re.compile(r"\s*data:image/(?:png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*", re.ASCII)
_STYLE_THAT_FETCHES = re.compile(r"url\s*\(|@import|expression\s*\(|behaviou?r\s*:|\\", re.IGNORECASE)


def narrative(node: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a Narrative, as sentences that quote nothing of it."""
    div = node.get("div")
    if isinstance(div, str):
        yield from _broken_rules(div)


def _broken_rules(div: str) -> Iterator[str]:
    look = _Look()
    try:
        look.read(div)
    except (expat.ExpatError, ValueError):
        yield "txt-1: the narrative is not well-formed XHTML without entities and declarations"
        return
    if look.root != f"{_XHTML} div":
        yield f"txt-1: the narrative must be a div of the namespace {_XHTML}"
    yield from sorted(look.found)
    if not look.has_content:
        yield "txt-2: the narrative is empty"


class _Look:
    def __init__(self) -> None:
        self.root = ""
        self.found: set[str] = set()
        self.has_content = False

    def read(self, div: str) -> None:
        """Raises ``ExpatError`` and ``ValueError``."""
        parser = expat.ParserCreate("UTF-8", " ")
        parser.StartDoctypeDeclHandler = self._refuse
        parser.ProcessingInstructionHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.CharacterDataHandler = self._text
        parser.Parse(div.encode(), True)

    def _refuse(self, *_declaration: object) -> None:
        raise ValueError("no declarations, no instructions")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.root = self.root or name
        space, _, local = name.rpartition(" ")
        if space != _XHTML or not _ELEMENTS.fullmatch(local):
            self.found.add("txt-1: only elements for basic formatting are allowed in a narrative")
        if not all(map(_ATTRIBUTES.fullmatch, attributes)):
            self.found.add("txt-1: only attributes for basic formatting are allowed in a narrative")
        if any(not _is_harmless(local, key, value) for key, value in attributes.items()):
            self.found.add("txt-1: a link or style in a narrative runs or fetches something")
        self.has_content = self.has_content or local == "img"

    def _text(self, text: str) -> None:
        self.has_content = self.has_content or not text.isspace()


def _is_harmless(element: str, key: str, value: str) -> bool:
    if key == "style":
        return _STYLE_THAT_FETCHES.search(value) is None
    if key not in _LINKS:
        return True
    scheme = _SCHEME.match(value)
    if scheme is None:
        return True
    return scheme[1].lower() in _SCHEMES or (element == "img" and _IMAGE.fullmatch(value) is not None)
