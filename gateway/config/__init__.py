"""Settings: the only reader of the settings file and of the environment.

Three sources, later ones win: the file, ``ISOBRIDGE_SECTION__KEY`` in the environment, ``--set section.key=value``. Every complaint is
collected and raised at once as :class:`Misconfigured`, with file and line. The defaults run on loopback as they stand; each
option is explained once, in ``config/gateway.yaml`` (a test compares the two).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from gateway import client_settings, folder_settings, named_settings, sender_settings, target_settings, yamlfile
from gateway.config.build import build, convert, hint
from gateway.config.checks import check
from gateway.config.sections import (
    NAMED,
    Data,
    Derive,
    Gather,
    Identity,
    Ledger,
    Log,
    Mappings,
    Publish,
    Receive,
    Retention,
    Settings,
    Site,
    Spool,
    Store,
    Web,
    Work,
    address,
    is_loopback,
)
from gateway.config.sources import Given, from_environment, from_file, from_overrides
from gateway.errors import Misconfigured
from gateway.sender_settings import SENDERS
from gateway.source_settings import SOURCES

__all__ = [
    "Data",
    "Derive",
    "Gather",
    "Identity",
    "Ledger",
    "Loaded",
    "Log",
    "Mappings",
    "Publish",
    "Receive",
    "Retention",
    "Settings",
    "Site",
    "Spool",
    "Store",
    "Web",
    "Work",
    "address",
    "is_loopback",
    "load",
    "no_mappings",
    "shown",
]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings with, for each ``section.key``, where its value came from."""

    settings: Settings
    origins: dict[str, str]

    def shown(self, name: str) -> str:
        """The value of ``section.key`` (or ``targets.name.key``) for people; a secret is never shown."""
        section, _, option = name.partition(".")
        if section not in NAMED:
            value = attrgetter(name)(self.settings)
            if isinstance(value, dict) and "." in option:  # addresses and names of certificates: no secrets
                return ", ".join(f"{title}: {text}" for title, text in value.items()) or "-"
            return shown(value)
        wanted, _, option = option.partition(".")
        value = next(getattr(item, option) for item in getattr(self.settings, section) if item.name == wanted)
        return "***" if value and option in named_settings.SECRETS else shown(value)


def load(
    path: Path | None,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Iterable[str] = (),
    needs_mappings: bool = False,
) -> Loaded:
    """Read, merge and check all settings. Raises :class:`Misconfigured` with every complaint at once.

    ``needs_mappings``: that there is no folder of mappings is one of them.
    """
    complaints: list[str] = []
    given: dict[tuple[str, str], Given] = {}
    if path is not None:
        given.update(from_file(yamlfile.read(path), complaints))
    given.update(from_environment(environment or {}))
    given.update(from_overrides(overrides, complaints))
    leaves = {name: _leaves(given, name) for name in NAMED}
    reading = named_settings.Reading(convert=convert, hint=hint, complaints=complaints)
    targets, target_origins = target_settings.build(leaves["targets"], reading)
    folders, folder_origins = named_settings.build(folder_settings.FOLDERS, leaves["folders"], reading)
    sources, source_origins = named_settings.build(SOURCES, leaves["sources"], reading)
    senders, sender_origins = named_settings.build(SENDERS, leaves["senders"], reading)
    issuers, issuer_origins = named_settings.build(client_settings.ISSUERS, leaves["issuers"], reading)
    clients, client_origins = named_settings.build(client_settings.CLIENTS, client_settings.as_texts(leaves["clients"]), reading)
    settings, origins, wrong = build({key: entry for key, entry in given.items() if key[0] not in NAMED}, complaints)
    mappings = dataclasses.replace(settings.mappings, directory=_beside(path, settings.mappings.directory))
    settings = dataclasses.replace(
        settings,
        targets=targets,
        folders=folders,
        sources=sources,
        senders=senders,
        issuers=issuers,
        clients=clients,
        mappings=mappings,
    )
    origins |= target_origins | folder_origins | source_origins | sender_origins | issuer_origins | client_origins
    complaints.extend(check(settings, origins, wrong))
    complaints.extend(f"{origins[option]}: {text}" for option, text in client_settings.conflicts(clients, leaves["issuers"]))
    complaints.extend(f"{origins[option]}: {text}" for option, text in sender_settings.conflicts(senders))
    complaints.extend(
        f"{origins[option]}: {text}" for option, text in folder_settings.conflicts(folders, settings.data.directory)
    )
    if needs_mappings:  # the question of `config check`: is everything there now?
        complaints.extend(f"{origins[option]}: {text}" for option, text in folder_settings.absent(folders))
    if needs_mappings and not mappings.directory.is_dir():
        complaints.append(f"{origins['mappings.directory']}: {no_mappings(mappings.directory)}")
    if complaints:
        raise Misconfigured(complaints)
    return Loaded(settings, origins)


def _leaves(given: Mapping[tuple[str, str], Given], wanted: str) -> dict[str, tuple[Any, str]]:
    return {key: (entry.value, entry.origin) for (section, key), entry in given.items() if section == wanted}


def no_mappings(directory: Path) -> str:
    """The complaint about a folder of mappings that is not there."""
    return f"mappings.directory: there is no folder {directory}; set it to your mapping files"


def _beside(file: Path | None, directory: Path) -> Path:
    """A folder that the working directory does not have is looked for beside the settings file, so that both travel together."""
    if file is None or directory.is_absolute() or directory.is_dir():
        return directory
    beside = file.parent / directory
    return beside if beside.is_dir() else directory


def shown(value: object) -> str:
    """A setting for people: a password in a database URL is never shown, of users and tokens only the names are."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: ***" for name in value) or "-"
    return "-" if value is None else re.sub(r"(://[^:/@]+):[^@]*@", r"\1:***@", str(value))
