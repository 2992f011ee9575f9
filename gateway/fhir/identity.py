"""Resource ids: the same thing always gets the same id, and an id tells nothing about the patient.

An id is HMAC-SHA-256 under the installation's own key over resource type and business identifier, written as a UUID. A plain hash
of a national number could be reversed by trying all numbers, and ids stand in URLs. Losing the key means new ids: back it up.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import uuid
from pathlib import Path

from gateway.errors import Misconfigured

KEY_BYTES = 32


class Identity:
    """Makes resource ids under one installation key."""

    def __init__(self, key: bytes) -> None:
        if len(key) < KEY_BYTES:
            raise Misconfigured(f"the installation key is shorter than {KEY_BYTES} bytes")
        self._key = key

    def resource_id(self, resource_type: str, business_key: str) -> str:
        """A UUID (version 8, RFC 9562) for a resource known elsewhere as ``business_key``."""
        mac = hmac.new(self._key, f"{resource_type}|{business_key}".encode(), hashlib.sha256).digest()
        return str(uuid.UUID(int=_as_version_8(int.from_bytes(mac[:16], "big"))))


def _as_version_8(number: int) -> int:
    """Set version and variant bits, so that the id is a UUID to anybody who checks."""
    number = number & ~(0xF << 76) | (0x8 << 76)
    return number & ~(0x3 << 62) | (0x2 << 62)


def load_or_create_key(path: Path) -> bytes:
    """The installation key: 32 random bytes as hex, made at the first start, readable by its owner only.

    Raises :class:`~gateway.errors.Misconfigured` when the file is damaged or others may read it.
    """
    try:
        _create(path)
    except FileExistsError:
        pass
    except OSError as error:
        raise Misconfigured(f"{path}: the installation key cannot be made ({error.strerror})") from error
    if path.stat().st_mode & 0o077:
        raise Misconfigured(f"{path}: others may read the installation key; run chmod 600 on it")
    try:
        return bytes.fromhex(path.read_text().strip())
    except ValueError as error:
        raise Misconfigured(f"{path}: not an installation key; restore it from the backup, a new one changes all ids") from error


def _create(path: Path) -> None:
    """Write a new key under a temporary name and link it into place, so that two starts at once agree on one key."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        temporary.unlink()
