"""Keys and signed texts for tests: those of honest clients, and those of others."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def pem(key: PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def key_set(**keys: PrivateKey) -> str:
    """The public halves as a JWK Set, each under its name."""
    listed = []
    for kid, key in keys.items():
        public = key.public_key()
        text = RSAAlgorithm.to_jwk(public) if isinstance(public, rsa.RSAPublicKey) else ECAlgorithm.to_jwk(public)
        listed.append({**json.loads(text), "kid": kid, "use": "sig"})
    return json.dumps({"keys": listed})


def signed(key: Any, algorithm: str, claims: dict[str, Any], **headers: Any) -> str:
    """``None`` among the claims stands for a claim that is left out; ``exp`` is in seconds from now."""
    kept = {name: value for name, value in claims.items() if value is not None}
    if isinstance(kept.get("exp"), int):
        kept["exp"] += int(time.time())
    return jwt.encode(kept, key, algorithm=algorithm, headers=headers)
