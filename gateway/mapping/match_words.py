"""What a mapping file writes behind ``match`` -> rules, every word checked. What the words mean stands in ``matching.py``."""

from __future__ import annotations

from typing import Any

from pydicom._uid_dict import UID_dictionary

from gateway.dicom.paths import ALL, TEXT_VRS, PathError, parse_path, vr_of
from gateway.mapping.complaints import Complaint, did_you_mean
from gateway.mapping.files import Effective, Piece
from gateway.mapping.matching import WORDS, MatchRule, Subject, never_together
from gateway.mapping.path_words import keywords
from gateway.mapping.patterns import Pattern, PatternError, regex, starred

_SOP_CLASSES = {entry[4]: uid for uid, entry in UID_dictionary.items() if entry[1] == "SOP Class" and entry[4]}
_SOP_CLASS_UID = "SOPClassUID"


def match_rules(effective: Effective, complaints: list[Complaint]) -> tuple[MatchRule, ...]:
    """The rules of one mapping, those of its bases included. All must fit; two that never can are a complaint."""
    rules: list[MatchRule] = []
    for key, pieces in effective.match.items():
        known: list[tuple[MatchRule, Piece]] = []
        for piece in pieces:
            rule = _rule(key, piece, complaints)
            if rule is None:
                continue
            for former, base in known:
                if never_together(former, rule):
                    complaints.append(piece.origin.complain(_contradiction(key, base)))
            known.append((rule, piece))
        rules += [rule for rule, _ in known]
    return tuple(dict.fromkeys(rules))


def _contradiction(key: str, base: Piece) -> str:
    where = base.origin.document.where(base.origin.place).rsplit(":", 1)[0]
    return (
        f"nothing fits both this and the '{key}' of {where}, which holds as well:"
        " extend another mapping, or match fewer of what that one matches"
    )


def _rule(key: str, piece: Piece, complaints: list[Complaint]) -> MatchRule | None:
    before = len(complaints)
    subject = _subject(key, piece, complaints)
    wanted = piece.node if isinstance(piece.node, list) else [piece.node]
    if not wanted or not all(_is_pattern(value) for value in wanted):
        words = [word for value in wanted if isinstance(value, dict) for word in value if word != "regex"]
        hint = did_you_mean(str(words[0]), ["regex"]) if words else ""
        text = f"'{key}' is matched by a text, by {{regex: ...}}, or by a list of these{hint}"
        complaints.append(piece.origin.complain(text))
        return None
    patterns = [_pattern(value, subject, piece, complaints) for value in wanted]
    if subject is None or len(complaints) > before:
        return None
    key, tag, index = subject
    return MatchRule(key, tag, index, tuple(pattern for pattern in patterns if pattern))


def _is_pattern(value: Any) -> bool:
    return (isinstance(value, str) and bool(value)) or (isinstance(value, dict) and set(value) == {"regex"})


def _subject(key: str, piece: Piece, complaints: list[Complaint]) -> tuple[str, Subject, int | None] | None:
    if key in WORDS:
        return key, key, None
    try:
        path = parse_path(key)
    except PathError as error:
        known = [*WORDS, *keywords()]
        complaints.append(piece.origin.complain(f"{error}{did_you_mean(error.keyword or key, known)}"))
        return None
    step = path.steps[0]
    if len(path.steps) > 1 or step.creator is not None:
        complaints.append(piece.origin.complain(f"'{key}': only standard elements of the top level can be matched"))
        return None
    if vr_of(step.tag) not in TEXT_VRS:
        complaints.append(piece.origin.complain(f"'{key}' is not text: it cannot be matched"))
        return None
    return key, step.tag, None if step.index == ALL else step.index


def _pattern(
    value: Any, subject: tuple[str, Subject, int | None] | None, piece: Piece, complaints: list[Complaint]
) -> Pattern | None:
    try:
        if isinstance(value, dict):
            return regex(value["regex"])
        text = _sop_class(value, piece, complaints) if subject and subject[0] == _SOP_CLASS_UID else value
        return starred(text)
    except PatternError as error:
        complaints.append(piece.origin.complain(str(error)))
        return None


def _sop_class(value: str, piece: Piece, complaints: list[Complaint]) -> str:
    if value[0].isdigit() or value == "*":
        return value
    uid = _SOP_CLASSES.get(value)
    if uid is None:
        complaints.append(piece.origin.complain(f"'{value}' is not a SOP class{did_you_mean(value, _SOP_CLASSES)}"))
    return str(uid)
