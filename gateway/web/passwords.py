"""Hashes of passwords and tokens: made for the settings file, compared when somebody logs in.

A password is stretched by scrypt (RFC 7914), because people choose short ones. A token is 32 random bytes, so one SHA-256 of it
is enough and costs nothing at each request. All comparisons take constant time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

#: RFC 7914 parameters: 32 MiB and about a tenth of a second for each try.
_N, _R, _P = 2**15, 8, 2
_KEY_BYTES, _SALT_BYTES = 32, 16
_MOST_MEMORY_BYTES = 256 * 1024 * 1024


def hash_password(password: str) -> str:
    """``scrypt:N:r:p:salt:key``, a line for ``web.users``."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return f"scrypt:{_N}:{_R}:{_P}:{_encode(salt)}:{_encode(_stretch(password, salt, _N, _R, _P))}"


def password_matches(password: str, line: str) -> bool:
    """Whether a password belongs to a line. The settings have checked the line's form."""
    _, n, r, p, salt, key = line.split(":")
    return hmac.compare_digest(_stretch(password, _decode(salt), int(n), int(r), int(p)), _decode(key))


def new_token() -> str:
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """``sha256:hex``, a line for ``web.tokens``."""
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"


def _stretch(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MOST_MEMORY_BYTES, dklen=_KEY_BYTES)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
