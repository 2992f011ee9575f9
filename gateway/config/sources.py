"""What was written where: the settings file, the environment, the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway import named_settings, yamlfile
from gateway.config.sections import NAMED
from gateway.dicom_settings import NESTED
from gateway.errors import Misconfigured

ENVIRONMENT_PREFIX = "ISOBRIDGE_"


@dataclass(frozen=True, slots=True)
class Given:
    """A value as somebody wrote it, and where."""

    value: Any
    origin: str


def from_file(document: yamlfile.Document, complaints: list[str]) -> dict[tuple[str, str], Given]:
    """The settings file: sections of options; in some of them things with names, each with its options."""
    if not isinstance(document.data, dict):
        complaints.append(f"{document.where(())}: expected sections such as 'receive:'")
        return {}
    given: dict[tuple[str, str], Given] = {}
    for section, keys in document.data.items():
        if keys is None:
            continue
        if not isinstance(keys, dict):
            complaints.append(f"{document.where((section,))}: '{section}' must hold 'key: value' lines")
            continue
        for key, value in keys.items():
            if (section in NAMED or (section, key) in NESTED) and isinstance(value, dict):
                for option, leaf in value.items():
                    given[section, f"{key}.{option}"] = Given(leaf, document.where((section, key, option)))
            elif (section, key) in NESTED and value is not None:
                complaints.append(f"{document.where((section, key))}: {section}.{key} must hold 'key: value' lines")
            elif (section, key) not in NESTED:
                given[section, key] = Given(value, document.where((section, key)))
    return given


def from_environment(environment: Mapping[str, str]) -> dict[tuple[str, str], Given]:
    """``ISOBRIDGE_SECTION__KEY``."""
    given: dict[tuple[str, str], Given] = {}
    for name, text in sorted(environment.items()):
        if not name.startswith(ENVIRONMENT_PREFIX) or "__" not in name:
            continue
        section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        secret = (
            section in ("targets", "sources") and key.rpartition("__")[2] in named_settings.SECRETS
        )  # any text may be a password
        given[section, key.replace("__", ".")] = Given(text if secret else _parsed(text), f"environment {name}")
    return given


def from_overrides(overrides: Iterable[str], complaints: list[str]) -> dict[tuple[str, str], Given]:
    """``--set section.key=value``."""
    given: dict[tuple[str, str], Given] = {}
    for override in overrides:
        match = re.fullmatch(r"([a-z_]+)\.([a-z0-9_]+(?:\.[a-z_]+)?)=(.*)", override)
        if match is None:
            complaints.append(f"--set {override}: expected section.key=value")
            continue
        given[match[1], match[2]] = Given(_parsed(match[3]), "--set")
    return given


def _parsed(text: str) -> Any:
    """A value as the file would give it; what is no YAML (``[::1]:0``) is the text itself."""
    try:
        return yamlfile.parse(text, name="value").data if text else ""
    except Misconfigured:
        return text
