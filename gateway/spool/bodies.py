"""How JSON bodies stand in a row: exact decimals, compressed, decoded to the same values."""

from __future__ import annotations

import zlib
from decimal import Decimal
from typing import Any

import msgspec

from gateway.model import Issue, Json, SharedFields

_encoder = msgspec.json.Encoder(decimal_format="number")
_decoder = msgspec.json.Decoder(float_hook=Decimal)
_shared_decoder = msgspec.json.Decoder(SharedFields, float_hook=Decimal)
_issues_decoder = msgspec.json.Decoder(tuple[Issue, ...])


def pack(body: Any) -> bytes:
    return zlib.compress(_encoder.encode(body), 1)


def unpack(body: bytes) -> Json:
    return _decoder.decode(zlib.decompress(body))


def pack_small(body: Any) -> bytes:
    """Uncompressed: an instance's own fields are a hundred bytes, which compression would not shrink."""
    return _encoder.encode(body)


def unpack_small(body: bytes) -> Json:
    return _decoder.decode(body)


def unpack_shared(body: bytes) -> SharedFields:
    return _shared_decoder.decode(zlib.decompress(body))


def unpack_issues(body: bytes | None) -> tuple[Issue, ...]:
    return _issues_decoder.decode(body) if body else ()
