"""Public keys of those who sign: JWK Sets (RFC 7517) or a PEM file. Pure.

A signature is checked with the algorithms that the settings name, by a key that fits the algorithm. What the signed text says about
keys (``jku``, ``jwk``, ``x5u``, ``x5c``) is never followed, and ``kid`` is compared and nothing else (RFC 8725, 3.1 and 3.10).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway.errors import Misconfigured

MOST_TOKEN_CHARS = 8192
_LEAST_RSA_BITS = 2048
_MOST_KEYS = 100
_CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class Untrusted(Exception):
    """A signed text that proves nothing. ``reason`` is for the log of the operator and for the client; it repeats nothing of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Expired(Untrusted):
    """It is signed as it should be, and was good once."""


@dataclass(frozen=True, slots=True)
class Key:
    """``kid`` is ``None`` for the one key of a PEM file, which has no name; ``algorithm`` is empty when the set does not say."""

    kid: str | None
    algorithm: str
    public: PublicKey


@dataclass(frozen=True, slots=True)
class KeySet:
    keys: tuple[Key, ...]

    def has(self, kid: object) -> bool:
        return any(key.kid in (None, kid) for key in self.keys)

    def find(self, kid: object, algorithm: str) -> PublicKey | None:
        """The one key of that name that fits the algorithm. A text without ``kid`` has to come from a set of one key."""
        named = [key for key in self.keys if key.kid is None or (isinstance(kid, str) and key.kid == kid)]
        if kid is None and len(self.keys) == 1:
            named = list(self.keys)
        fit = [key.public for key in named if key.algorithm in ("", algorithm) and _fits(key.public, algorithm)]
        return fit[0] if len(fit) == 1 else None


def _fits(key: PublicKey, algorithm: str) -> bool:
    if algorithm.startswith(("RS", "PS")):
        return isinstance(key, rsa.RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS
    if algorithm in _CURVES:
        return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES[algorithm])
    return algorithm == "EdDSA" and isinstance(key, ed25519.Ed25519PublicKey)


def read_keys(text: str) -> KeySet:
    """A JWK Set, one JWK, or a PEM public key. Raises ``ValueError`` with the end of the sentence '<file> ...'."""
    if text.lstrip().startswith("-----BEGIN"):
        return KeySet((Key(None, "", _pem(text)),))
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("is neither JSON nor PEM") from error
    listed = tree.get("keys", [tree]) if isinstance(tree, dict) else None
    if not isinstance(listed, list) or not 0 < len(listed) <= _MOST_KEYS or not all(isinstance(item, dict) for item in listed):
        raise ValueError("is no JWK Set: an object with a list 'keys'")
    if any("d" in item or item.get("kty") == "oct" for item in listed):
        raise ValueError("holds a private or secret key: only public keys belong here")
    keys = tuple(key for item in listed if (key := _jwk(item)) is not None)
    if not keys:
        raise ValueError("holds no key that can check a signature: RSA of 2048 bits or more, EC P-256, P-384, P-521, Ed25519")
    return KeySet(keys)


def _pem(text: str) -> PublicKey:
    if "PRIVATE KEY" in text:
        raise ValueError("holds a private key: only the public key belongs here")
    try:
        key = load_pem_public_key(text.encode())
    except ValueError as error:
        raise ValueError("is no PEM public key") from error
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise ValueError("holds a key of a kind that is not used here")  # noqa: TRY004 - a value of the settings, not a type
    return key


def _jwk(item: Mapping[str, Any]) -> Key | None:
    """``None`` for a key that is for something else, or that nothing here can use: a set may hold such."""
    if item.get("use", "sig") != "sig" or item.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    try:
        public = jwt.PyJWK({**item}, algorithm=_any_algorithm(item)).key
    except jwt.PyJWTError:
        return None
    if not isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        return None
    kid = item.get("kid")
    return Key(kid if isinstance(kid, str) else "", str(item.get("alg", "")), public)


def _any_algorithm(item: Mapping[str, Any]) -> str:
    """One by which PyJWT reads a key of this type."""
    curves = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
    return {"RSA": "RS256", "OKP": "EdDSA"}.get(str(item.get("kty")), curves.get(str(item.get("crv")), "ES256"))


def read_key_file(path: Path, option: str) -> KeySet:
    """Raises :class:`Misconfigured`."""
    try:
        return read_keys(path.read_text())
    except OSError as error:
        raise Misconfigured(f"{option}: {path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise Misconfigured(f"{option}: {path} {error}") from error


def header_of(token: str) -> Mapping[str, Any]:
    """The header, unchecked. Raises :class:`Untrusted`."""
    if len(token) > MOST_TOKEN_CHARS:
        raise Untrusted("it is too long")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, RecursionError) as error:
        raise Untrusted("it is no signed JWT") from error
    if "crit" in header:
        raise Untrusted("its header names extensions that are not understood")
    return header


def claims_unchecked(token: str) -> Mapping[str, Any]:
    """What it says about itself, to learn whose keys to check it with. Raises :class:`Untrusted`."""
    try:
        claims: Mapping[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, RecursionError, ValueError) as error:
        raise Untrusted("it is no signed JWT") from error
    return claims


def checked(
    token: str,
    key: PublicKey,
    algorithm: str,
    *,
    issuer: str,
    audiences: Iterable[str],
    required: Iterable[str],
    leeway_secs: int,
) -> Mapping[str, Any]:
    """The claims, with signature, ``exp``, ``nbf``, ``iat``, ``iss`` and ``aud`` checked. Raises :class:`Untrusted`."""
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=issuer,
            audience=list(audiences),
            leeway=leeway_secs,
            options={"require": [*required]},
        )
    except jwt.ExpiredSignatureError as error:
        raise Expired("it has expired") from error
    except jwt.InvalidAudienceError as error:
        raise Untrusted("it is made for another address (aud)") from error
    except jwt.MissingRequiredClaimError as error:
        raise Untrusted(f"it has no claim {error.claim}") from error
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
        raise Untrusted("its signature or one of its claims does not hold") from error
    return claims
