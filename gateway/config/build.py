"""From what was written to settings of the right types. Every word that nobody knows and every value of a wrong type is told."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from gateway.config.sections import NAMED, Settings
from gateway.config.sources import Given
from gateway.dicom_settings import NESTED


def build(given: Mapping[tuple[str, str], Given], complaints: list[str]) -> tuple[Settings, dict[str, str], frozenset[str]]:
    """The settings, where each came from, and the options whose value is wrong: their defaults stand in for them."""
    origins: dict[str, str] = {}
    wrong: set[str] = set()
    sections = {name: kind for name, kind in get_type_hints(Settings).items() if name not in NAMED}
    for (section, key), entry in given.items():
        known = _known(section, key, sections)
        word = key.rpartition(".")[2] if section in sections else section
        if word not in known or section not in sections:
            complaints.append(
                f"{entry.origin}: unknown {'option' if section in sections else 'section'} '{word}'{hint(word, known)}"
            )
    built: dict[str, Any] = {}
    for section, kind in sections.items():

        def value_of(key: str, wanted: Any, section: str = section) -> Any:
            entry = given.get((section, key), Given(None, "default"))
            origins[f"{section}.{key}"] = entry.origin
            if entry.origin == "default":
                return _DEFAULT
            try:
                return convert(entry.value, wanted)
            except ValueError as error:
                complaints.append(f"{entry.origin}: {section}.{key} {error}")
                wrong.add(f"{section}.{key}")
                return _DEFAULT

        built[section] = _filled(kind, "", value_of)
    return Settings(**built), origins, frozenset(wrong)


_DEFAULT: Any = object()


def _known(section: str, key: str, sections: Mapping[str, type]) -> list[str]:
    """The words that may stand where ``key`` stands."""
    if section not in sections:
        return [*sections, *NAMED]
    outer, dot, _ = key.partition(".")
    kind = NESTED.get((section, outer)) if dot else sections[section]
    names = [option.name for option in dataclasses.fields(kind)] if kind else []
    return names if dot else [name for name in names if (section, name) not in NESTED]


def _filled(kind: type, prefix: str, value_of: Callable[[str, Any], Any]) -> Any:
    """A section with all its options; those that have options themselves in the same way."""
    values: dict[str, Any] = {}
    for name, wanted in get_type_hints(kind).items():
        value = (
            _filled(wanted, f"{prefix}{name}.", value_of)
            if isinstance(wanted, type) and dataclasses.is_dataclass(wanted)
            else value_of(f"{prefix}{name}", wanted)
        )
        if value is not _DEFAULT:
            values[name] = value
    return kind(**values)


def hint(word: str, known: list[str]) -> str:
    """What was meant, perhaps."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(sorted(known))}"


def convert(value: Any, kind: Any) -> Any:
    """One value as its declared type, or ``ValueError`` with the end of the sentence '<option> ...'."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return None if value is None else convert(value, next(arm for arm in get_args(kind) if arm is not type(None)))
    if origin is Literal:
        if value not in get_args(kind):
            raise ValueError(f"must be one of {', '.join(map(str, get_args(kind)))}")
        return value
    if origin is dict:
        return _pairs(value)
    if origin is tuple:
        items = value if isinstance(value, list) else [part for part in str(value).split(",") if part]
        return tuple(str(item).strip() for item in items)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if kind is str and isinstance(value, (str, int, Decimal)) and str(value):
        return str(value)
    if kind is Path and isinstance(value, str) and value:
        return Path(value)
    words = {bool: "true or false", int: "a whole number, 0 or more", str: "a text", Path: "a path"}
    raise ValueError(f"must be {words.get(kind, 'of another type')}")


def _pairs(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in (*value, *value.values())):
        raise ValueError("must hold 'name: text' pairs")
    return dict(value)
