"""Sections of the settings whose entries people name themselves: ``targets``, ``folders``, ``sources``. What they have in common.

Leaves (``name.option``) become one dataclass for each name; what is wrong is told with the place where it was written. What an option means
stands in ``target_settings``, ``folder_settings`` and ``source_settings``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, get_type_hints
from urllib.parse import SplitResult, urlsplit

#: A name goes into rows, log lines, environment variables and ``--set``.
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

#: Never in the settings file: in files of their own or in the environment.
SECRETS = frozenset({"password", "token"})
_FILES = ("password_file", "token_file", "ca_file")

#: ``name.option`` -> (value, where it was written)
Leaves = Mapping[str, tuple[Any, str]]
#: (option, end of the sentence '<option> ...')
Problems = Iterator[tuple[str, str]]
T = TypeVar("T")


class Remote(Protocol):
    """Something elsewhere with the files that it takes to get in."""

    @property
    def password_file(self) -> Path | None: ...

    @property
    def token_file(self) -> Path | None: ...

    @property
    def ca_file(self) -> Path | None: ...


@dataclass(frozen=True, kw_only=True)
class Section(Generic[T]):
    """A section of named entries."""

    name: str  #: ``targets``
    one: str  #: ``target``
    kind: type[T]
    required: str  #: the option without which there is no entry
    choices: str = ""  #: what may stand there, for who left it out
    name_most: int | None = None  #: characters of a name, where it travels as an AE title
    always_shown: tuple[str, ...] = ()  #: options whose default is listed among the origins
    check: Callable[[T, Leaves], Problems]  #: what is wrong with one entry, and the options as written

    @property
    def options(self) -> list[str]:
        return [option.name for option in dataclasses.fields(self.kind) if option.name != "name"]  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How values are read and mistakes told. ``convert`` raises ``ValueError`` with the end of a sentence."""

    convert: Callable[[Any, Any], Any]
    hint: Callable[[str, list[str]], str]
    complaints: list[str]


def build(section: Section[T], leaves: Leaves, reading: Reading) -> tuple[tuple[T, ...], dict[str, str]]:
    """The entries that are named anywhere, in that order, and where each option came from. One that is wrong is left out and told."""
    entries: list[T] = []
    origins: dict[str, str] = {}
    complaints = reading.complaints
    for name, options in _grouped(section, leaves, reading).items():
        before = len(complaints)
        complaints.extend(_misplaced(section, name, options))
        entry = _converted(section, name, options, reading)
        first = next(iter(options.values()))[1]
        for option, text in section.check(entry, options) if entry is not None else _missing(section, options):
            complaints.append(f"{options.get(option, ('', first))[1]}: {section.name}.{name}.{option} {text}")
        if entry is not None and len(complaints) == before:
            entries.append(entry)
            origins |= shown(section, name, options)
    return tuple(entries), origins


def shown(section: Section[T], name: str, options: Leaves) -> dict[str, str]:
    """Where the options of one entry came from: those that were written, and the defaults that are worth telling."""
    wanted = [option for option in section.options if option in options or option in section.always_shown]
    return {f"{section.name}.{name}.{option}": options.get(option, ("", "default"))[1] for option in wanted}


def _grouped(section: Section[T], leaves: Leaves, reading: Reading) -> dict[str, dict[str, tuple[Any, str]]]:
    by_name: dict[str, dict[str, tuple[Any, str]]] = {}
    for key, (value, origin) in leaves.items():
        name, dot, option = key.partition(".")
        if not dot:
            text = f"must hold 'key: value' lines, the first of them '{section.required}:'"
            reading.complaints.append(f"{origin}: {section.name}.{name} {text}")
        elif option not in section.options:
            reading.complaints.append(f"{origin}: unknown option '{option}'{reading.hint(option, section.options)}")
        else:
            by_name.setdefault(name, {})[option] = (value, origin)
    return by_name


def _misplaced(section: Section[T], name: str, options: Leaves) -> Iterator[str]:
    """What can be told before anything is understood: the name, and secrets where others can read them."""
    first = next(iter(options.values()))[1]
    if not NAME.fullmatch(name) or len(name) > (section.name_most or len(name)):
        size = f"up to {section.name_most} " if section.name_most else ""
        yield f"{first}: {section.name}.{name}: a {section.one}'s name is made of {size}small letters, digits and single underscores"
    for option in sorted(SECRETS & options.keys()):
        origin = options[option][1]
        if not origin.startswith("environment"):
            variable = f"ISOBRIDGE_{section.name.upper()}__{name.upper()}__{option.upper()}"
            text = f"does not belong where others can read it: name a {option}_file, or set {variable}"
            yield f"{origin}: {section.name}.{name}.{option} {text}"


def _converted(section: Section[T], name: str, options: Leaves, reading: Reading) -> T | None:
    hints = get_type_hints(section.kind)
    values: dict[str, Any] = {}
    for option, (value, origin) in options.items():
        try:
            values[option] = reading.convert(value, hints[option])
        except ValueError as error:
            reading.complaints.append(f"{origin}: {section.name}.{name}.{option} {error}")
    make: Callable[..., T] = section.kind
    return make(name=name, **values) if section.required in values else None


def _missing(section: Section[T], options: Leaves) -> Problems:
    if section.required not in options:
        yield section.required, f"is missing{section.choices and ': '}{section.choices}"


def not_zero(entry: object, options: Iterable[str]) -> Problems:
    """Numbers that must be more than 0."""
    yield from ((option, "must be 1 or more") for option in options if getattr(entry, option) == 0)


def unknown_to(section: Section[T], kind: str, given: Iterable[str], known: frozenset[str]) -> Problems:
    """Options that mean nothing for a kind of target or source."""
    yield from ((option, f"means nothing for a {section.one} of kind {kind}") for option in sorted(set(given) - known))


def absent_files(entry: Remote) -> Problems:
    for option in _FILES:
        path: Path | None = getattr(entry, option)
        if path is not None and not path.is_file():
            yield option, f"names {path}, which is no file"


def http_address(value: str) -> SplitResult | None:
    """The parts of an HTTP address; None when it is none."""
    try:
        parts = urlsplit(value)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if sound else None
