"""The parts of the section ``receive:`` that have options of their own: ``tls`` and ``storage_commitment``.

Called by ``config``, which finds the values and says where each came from. The TLS profile is the BCP 195 profile of PS3.15 (B.9 to
B.12; RFC 8996, RFC 9325): TLS 1.2 with forward secrecy and authenticated encryption only, and TLS 1.3.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gateway.errors import Misconfigured

#: RFC 9325 4.2, in PS3.15 B.12 too: the suites of TLS 1.2. Those of TLS 1.3 are all of this kind.
TLS12_SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_ADDRESS = re.compile(r"(?:\[[0-9a-fA-F:]+\]|[^:\[\]\s]+):(\d{1,5})")
#: PS3.5 6.2, AE.
_AE_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """DICOM TLS on a port of its own, beside the plain one. ``aes`` binds AE titles to certificates; see :func:`certificate_names`."""

    bind: str | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    client_ca_file: Path | None = None
    client_certificate: Literal["required", "optional", "none"] = "required"
    minimum_version: Literal["tls1.2", "tls1.3"] = "tls1.2"
    aes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentSettings:
    """Storage commitment (PS3.4 annex J). ``peers``: where answers go when the association has ended, AE title -> host:port."""

    mode: Literal["off", "end_to_end"] = "off"
    wait_minutes: int = 120
    retry_for_hours: int = 72
    peers: dict[str, str] = field(default_factory=dict)


#: Options of a section that hold options themselves.
NESTED: Mapping[tuple[str, str], type] = {("receive", "tls"): TlsSettings, ("receive", "storage_commitment"): CommitmentSettings}


def certificate_names(text: str) -> frozenset[str]:
    """The names that a certificate must bear one of: ``sha256:<fingerprint>``, ``dns:``, ``uri:`` or ``cn:``, several with commas.

    Raises ``ValueError`` with the end of a sentence.
    """
    names: set[str] = set()
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        kind, _, value = part.partition(":")
        kind, value = kind.strip().lower(), value.strip()
        if kind == "sha256":
            value = value.replace(":", "").lower()
        if kind not in ("sha256", "dns", "uri", "cn") or not value:
            raise ValueError("must be sha256:<fingerprint>, dns:<name>, uri:<uri> or cn:<name>; several with commas")
        if kind == "sha256" and not _FINGERPRINT.fullmatch(value):
            raise ValueError("has a fingerprint that is not 64 hexadecimal digits (openssl x509 -noout -fingerprint -sha256)")
        names.add(f"{kind}:{value.lower() if kind == 'dns' else value}")
    if not names:
        raise ValueError("names no certificate")
    return frozenset(names)


def server_context(settings: TlsSettings) -> ssl.SSLContext:
    """What the TLS port speaks. Raises :class:`Misconfigured` when the files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _apply_profile(context, settings)
    # Session tickets would let a caller back in whose certificate was withdrawn meanwhile; a handshake costs a millisecond.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    _load_own(context, settings)
    if settings.client_certificate != "none":
        context.verify_mode = ssl.CERT_REQUIRED if settings.client_certificate == "required" else ssl.CERT_OPTIONAL
        _load_authorities(context, settings)
    return context


def client_context(settings: TlsSettings) -> ssl.SSLContext:
    """The same profile as a caller: our certificate, and ``client_ca_file`` for who is believed. Raises :class:`Misconfigured`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _apply_profile(context, settings)
    if settings.certificate_file is not None:
        _load_own(context, settings)
    if settings.client_ca_file is not None:
        _load_authorities(context, settings)
    else:
        context.load_default_certs()
    return context


def _apply_profile(context: ssl.SSLContext, settings: TlsSettings) -> None:
    is_newest = settings.minimum_version == "tls1.3"
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if is_newest else ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(TLS12_SUITES))


def _load_own(context: ssl.SSLContext, settings: TlsSettings) -> None:
    certificate, key = settings.certificate_file or "", settings.key_file
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{certificate} and {key or 'its key'} cannot be used: {_words(error)}") from error


def _load_authorities(context: ssl.SSLContext, settings: TlsSettings) -> None:
    try:
        context.load_verify_locations(settings.client_ca_file)
    except (OSError, ValueError, TypeError) as error:
        raise Misconfigured(f"{settings.client_ca_file} cannot be used: {_words(error)}") from error


def _no_password() -> str:
    """Nobody is there to type one: the key must stand in the file as it is, readable to us only."""
    raise ValueError("the key is encrypted; a service needs it without a password, readable to its own user only")


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        words = (error.reason or "not PEM").replace("_", " ").lower()
        return "the key does not belong to the certificate" if "key values mismatch" in words else words
    return str(getattr(error, "strerror", None) or error)


def tls_complaints(tls: TlsSettings, *, is_loopback: bool | None, has_calling_aes: bool) -> Iterator[tuple[str, str]]:
    """What is wrong, as (option, end of the sentence '<option> ...'). ``is_loopback``: of ``bind``, None when it is no address."""
    missing = [*_without_file(tls)]
    yield from missing
    yield from _wrong_bindings(tls)
    if tls.bind is None:
        if tls.certificate_file or tls.key_file:
            yield "bind", "is missing: the address of the TLS port, such as 0.0.0.0:2762"
        return
    if not missing:
        try:
            server_context(tls)
        except Misconfigured as error:
            yield "certificate_file", f": {error.reason}"
    if is_loopback is False and tls.client_certificate != "required" and not has_calling_aes:
        yield (
            "bind",
            (
                "is not loopback: without client_certificate: required anybody gets in; require one, or list receive.calling_aes at least"
            ),
        )


def _without_file(tls: TlsSettings) -> Iterator[tuple[str, str]]:
    for option in ("certificate_file", "key_file", "client_ca_file"):
        path: Path | None = getattr(tls, option)
        if path is not None and not path.is_file():
            yield option, f"names {path}, which is no file"
        elif path is None and tls.bind is not None and option != "client_ca_file":
            yield option, "is missing"
        elif path is None and tls.bind is not None and tls.client_certificate != "none":
            yield option, "is missing: who signs the certificates of callers (or set client_certificate: none)"


def _wrong_bindings(tls: TlsSettings) -> Iterator[tuple[str, str]]:
    for title, names in tls.aes.items():
        if not _AE_TITLE.fullmatch(title):
            yield "aes", f"'{title}' is no AE title (1 to 16 printable characters)"
        try:
            certificate_names(names)
        except ValueError as error:
            yield "aes", f"'{title}' {error}"
    if tls.aes and tls.client_certificate == "none":
        yield "client_certificate", "none leaves nothing to compare aes with"


def commitment_complaints(settings: CommitmentSettings, *, has_archive: bool) -> Iterator[tuple[str, str]]:
    """What is wrong, as :func:`tls_complaints` tells it. ``has_archive``: some target takes the originals."""
    if settings.mode == "end_to_end" and not has_archive:
        yield (
            "mode",
            "end_to_end needs a target that holds the originals (kind: orthanc, send: original): nothing could ever be committed",
        )
    for title, where in settings.peers.items():
        match = _ADDRESS.fullmatch(where)
        if not _AE_TITLE.fullmatch(title) or match is None or not 1 <= int(match[1]) <= 65535:
            yield "peers", f"'{title}: {where}' is not like PETCT1: 10.0.0.7:104"
    for option in ("wait_minutes", "retry_for_hours"):
        if getattr(settings, option) == 0:
            yield option, "must be 1 or more"
