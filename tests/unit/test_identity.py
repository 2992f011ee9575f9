"""Resource ids: stable, unguessable, made with a key that only its owner may read."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from gateway.errors import Misconfigured
from gateway.fhir.identity import Identity, load_or_create_key


def test_the_same_thing_always_gets_the_same_id_and_another_key_gives_another() -> None:
    one, other = Identity(b"a" * 32), Identity(b"b" * 32)
    assert one.resource_id("Patient", "s|1") == one.resource_id("Patient", "s|1")
    assert one.resource_id("Patient", "s|1") != one.resource_id("Patient", "s|2")
    assert one.resource_id("Patient", "s|1") != one.resource_id("Device", "s|1")
    assert one.resource_id("Patient", "s|1") != other.resource_id("Patient", "s|1")


def test_an_id_is_a_uuid_and_shows_nothing_of_the_identifier() -> None:
    made = Identity(b"a" * 32).resource_id("Patient", "s|70020112345")
    assert uuid.UUID(made).version == 8
    assert "70020112345" not in made


def test_a_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "installation.key"
    key = load_or_create_key(path)
    assert len(key) == 32
    assert load_or_create_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["installation.key"]


def test_a_key_that_others_may_read_or_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "installation.key"
    load_or_create_key(path)
    path.chmod(0o644)
    with pytest.raises(Misconfigured, match="chmod 600"):
        load_or_create_key(path)
    path.chmod(0o600)
    path.write_text("not hexadecimal")
    with pytest.raises(Misconfigured, match="restore it from the backup"):
        load_or_create_key(path)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(Misconfigured):
        Identity(b"short")
