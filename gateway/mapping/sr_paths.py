"""``{sr: [113502 DCM, 113507 DCM]}`` in a mapping file -> a path through a structured report, every concept name checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gateway.dicom.paths import Path, parse_path
from gateway.dicom.sr import ANY, BELOW, DEEPEST, RELATIONSHIPS, VALUE_TYPES, Names, SrPath
from gateway.mapping.codes import Coded, Codes
from gateway.mapping.complaints import Complaint, did_you_mean
from gateway.mapping.files import Origin
from gateway.mapping.path_words import path_problems

_CONCEPT = re.compile(r"(\S+) ([A-Za-z0-9_-]+)")
KEYS = ("sr", "attribute", "relationship", "template", "value_type", "except", "nearest")
#: Words that are no concept name: any child, any depth.
_WILD = {"*": ANY, "**": BELOW}
#: More names of one step are no choice any more.
MOST_NAMES = 64
#: Designators that begin like this are a vendor's or a site's own (PS3.16 section 8).
_PRIVATE = "99"


def sr_path(
    node: dict[str, Any], codes: Codes, origin: Origin, complaints: list[Complaint], *, inside: str | None = None
) -> SrPath | None:
    """Compile a path; after a complaint ``None``.

    A path that begins with ``$administration`` or ``$item`` starts at an item of a ``for_each``, and alone is that item; ``inside`` is
    how that one was written. A step may be a list: any of these concept names; ``*``: any child; ``**``: any depth.

    ``relationship`` (a word or a list) is that of the last item to the one above it, ``value_type`` its value type, ``except`` names
    that it must not have; ``template`` the identifier that the report or an item on the way declares (PS3.3 C.18.8), e.g. ``"10022"``.
    With ``nearest: true`` what does not stand below the item is looked for below the one around it, and so on; ``nearest: 125007 DCM``
    goes up to an item of that name and no further.
    """
    before = len(complaints)
    complaints += [origin.complain(f"unknown key '{key}'{did_you_mean(key, KEYS)}", "from") for key in node if key not in KEYS]
    words = node["sr"] if isinstance(node["sr"], list) else []
    words = words[1:] if inside else words
    if not (0 if inside else 1) <= len(words) <= DEEPEST:
        complaints.append(
            origin.complain(f"'sr' is a list of 1 to {DEEPEST} concept names, as in [113502 DCM, 113507 DCM]", "from")
        )
    node, _ = origin.as_meant(node, KEYS)
    steps = [_names(word, codes, origin, complaints) for word in words]
    attribute = _attribute(node.get("attribute"), origin, complaints)
    relationship = _words(node.get("relationship"), RELATIONSHIPS, "a relationship of content items", origin, complaints)
    value_types = _words(node.get("value_type"), VALUE_TYPES, "a value type of content items", origin, complaints)
    without = _names(node["except"], codes, origin, complaints) if "except" in node else frozenset()
    template = node.get("template", "")
    nearest = node.get("nearest", False)
    within = frozenset[tuple[str, str]]() if isinstance(nearest, bool) else _names(nearest, codes, origin, complaints)
    if not isinstance(template, str | int) or isinstance(template, bool):
        complaints.append(origin.complain("'template' is the identifier of a template, as in 10022", "from"))
    if len(complaints) > before:
        return None
    text = "/".join(([inside] if inside else []) + ["|".join(word) if isinstance(word, list) else str(word) for word in words])
    text = text if inside else f"sr {text}"
    return SrPath(
        text,
        tuple(step for step in steps if step),
        attribute,
        relationship,
        str(template),
        value_types,
        without or frozenset(),
        nearest=bool(nearest),
        within=within or frozenset(),
    )


def _words(node: Any, known: Sequence[str], what: str, origin: Origin, complaints: list[Complaint]) -> frozenset[str]:
    wanted = node if isinstance(node, list) else [] if node is None else [node]
    for word in wanted:
        if word not in known:
            complaints.append(origin.complain(f"'{word}' is not {what}{did_you_mean(str(word), known)}", "from"))
    return frozenset(map(str, wanted))


def _names(word: Any, codes: Codes, origin: Origin, complaints: list[Complaint]) -> Names | None:
    """One step: a concept name with all its equals, several of them, or a wildcard."""
    if word in ("*", "**"):
        return _WILD[word]
    if not isinstance(word, list):
        return _concept(str(word), codes, origin, complaints)
    if not 1 <= len(word) <= MOST_NAMES:
        complaints.append(origin.complain(f"a step is one concept name, or a list of 1 to {MOST_NAMES}", "from"))
        return None
    found = [_concept(str(one), codes, origin, complaints) for one in word]
    return frozenset().union(*(names for names in found if names))


def _concept(word: str, codes: Codes, origin: Origin, complaints: list[Complaint]) -> Names | None:
    found = _CONCEPT.fullmatch(word)
    if not found:
        complaints.append(origin.complain(f"'{word}' is not a concept name: write code and scheme, as in 113507 DCM", "from"))
        return None
    code, scheme = found.groups()
    schemes = codes.schemes
    if scheme in schemes.snomed_rt:
        now, current = schemes.current(Coded(scheme=scheme, value=code, meaning=""))
        hint = f"; write '{current} {now}', the retired code is then understood as well" if now != scheme else ""
        complaints.append(origin.complain(f"'{word}' is a retired SNOMED code{hint}", "from"))
        return None
    if scheme not in schemes.systems and not scheme.startswith(_PRIVATE):
        complaints.append(origin.complain(f"'{scheme}' is not a coding scheme{did_you_mean(scheme, schemes.systems)}", "from"))
        return None
    return schemes.equals(scheme, code)


def _attribute(keyword: Any, origin: Origin, complaints: list[Complaint]) -> Path | None:
    if keyword is None:
        return None
    problems = path_problems(str(keyword))
    complaints += [origin.complain(problem, "from") for problem in problems]
    return None if problems else parse_path(str(keyword))
