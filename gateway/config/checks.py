"""What no single option can tell: what belongs together, and that nobody gets in by default."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Set
from zoneinfo import ZoneInfoNotFoundError

from gateway.config.sections import Receive, Settings, Web, address, is_loopback, night_window
from gateway.dicom_settings import commitment_complaints, tls_complaints

#: PS3.5 6.2, AE: printable, no backslash, no leading or trailing blank here.
_AE_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")

#: What ``isobridge web-password`` and ``isobridge web-token`` print.
_PASSWORD = re.compile(r"scrypt:\d{4,7}:\d{1,2}:\d{1,2}:[\w-]{16,}:[\w-]{32,}", re.ASCII)
_TOKEN = re.compile(r"sha256:[0-9a-f]{64}")
_ORIGIN = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d{1,5})?")
_EXTERNAL_URL = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d{1,5})?/?")


def _check_numbers(settings: Settings, origins: Mapping[str, str]) -> Iterable[str]:
    for option, url in (("ledger.url", settings.ledger.url), ("store.url", settings.store.url)):
        if url is not None and not url.startswith(("sqlite:///", "postgresql+psycopg://")):
            yield f"{origins[option]}: {option} must start with sqlite:/// or postgresql+psycopg://"
    above_zero = ("work.lease_secs", "work.batch_instances", "receive.max_associations", "receive.max_pdu_kilobytes")
    spool = settings.spool
    if spool.reject_mark_megabytes and spool.reject_mark_megabytes < spool.reserve_megabytes:
        yield f"{origins['spool.reject_megabytes']}: spool.reject_megabytes must not be below spool.reserve_megabytes (0: off)"
    if spool.warn_mark_megabytes and spool.warn_mark_megabytes < spool.reject_mark_megabytes:
        yield f"{origins['spool.warn_megabytes']}: spool.warn_megabytes must not be below spool.reject_megabytes (0: off)"
    for option in (*above_zero, "web.fhir_max_request_megabytes"):
        section, _, name = option.partition(".")
        if getattr(getattr(settings, section), name) == 0:
            yield f"{origins[option]}: {option} must be 1 or more"


def check(settings: Settings, origins: Mapping[str, str], wrong: frozenset[str]) -> Iterable[str]:
    """What no single option can tell: addresses, zones, and that nobody gets in by default (promise 7).

    ``wrong`` names the options that are complained about already: what depends on them is not judged by their defaults.
    """
    unsound = set(wrong)
    for option, bind in (("receive.bind", settings.receive.bind), ("web.bind", settings.web.bind)):
        try:
            address(bind)
        except ValueError as error:
            unsound.add(option)
            yield f"{origins[option]}: {option}: {error}"
    yield from _check_numbers(settings, origins)
    try:
        _ = settings.site.zone
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield f"{origins['site.timezone']}: site.timezone: '{settings.site.timezone}' is not a known time zone"
    if not _AE_TITLE.fullmatch(settings.receive.ae_title):
        yield f"{origins['receive.ae_title']}: receive.ae_title must be 1 to 16 printable characters without backslash (PS3.5 6.2, AE)"
    if not unsound & {"receive.bind", "receive.behind_tls_proxy", "receive.calling_aes"}:
        yield from _check_open_dicom(settings.receive, origins)
    yield from _check_dicom_extras(settings, origins, unsound)
    yield from _check_web(settings.web, origins, unsound, [one.name for one in settings.clients])
    if not unsound & {"web.bind", "web.fhir_write"}:
        yield from _check_fhir_write(settings, f"{origins['web.fhir_write']}: web.fhir_write: {settings.web.fhir_write}")
    yield from _check_retention(settings, origins, unsound)


def _check_dicom_extras(settings: Settings, origins: Mapping[str, str], unsound: Set[str]) -> Iterable[str]:
    """TLS of the DICOM port, and storage commitment."""
    receive = settings.receive
    local: bool | None = None
    if receive.tls.bind is not None:
        try:
            local = is_loopback(receive.tls.bind)
        except ValueError as error:
            yield f"{origins['receive.tls.bind']}: receive.tls.bind: {error}"
    has_archive = any(target.kind == "orthanc" and target.enabled and target.send == "original" for target in settings.targets)
    told = {
        "receive.tls": tls_complaints(receive.tls, is_loopback=local, has_calling_aes=bool(receive.calling_aes)),
        "receive.storage_commitment": commitment_complaints(receive.storage_commitment, has_archive=has_archive),
    }
    for section, complaints in told.items():
        if any(option.startswith(f"{section}.") for option in unsound):
            continue  # what is wrong with a value has been told already
        first = next((where for option, where in origins.items() if option.startswith(section) and where != "default"), "default")
        for option, text in complaints:
            where = origins[f"{section}.{option}"]
            yield f"{first if where == 'default' else where}: {section}.{option}{'' if text.startswith(':') else ' '}{text}"


def _check_retention(settings: Settings, origins: Mapping[str, str], unsound: Set[str]) -> Iterable[str]:
    """An original may leave only where an archive keeps it, byte for byte."""
    retention = settings.retention
    if "retention.night" not in unsound:
        try:
            night_window(retention.night)
        except ValueError as error:
            yield f"{origins['retention.night']}: retention.night: {error}"
    if "retention.days" not in unsound and retention.days == 0:
        yield f"{origins['retention.days']}: retention.days must be 1 or more"
    has_archive = any(target.kind == "orthanc" and target.enabled and target.send == "original" for target in settings.targets)
    if retention.originals == "release" and not has_archive:
        yield (
            f"{origins['retention.originals']}: retention.originals: release needs a target of kind orthanc with send: original: "
            "the originals must stand somewhere"
        )


def _check_open_dicom(receive: Receive, origins: Mapping[str, str]) -> Iterable[str]:
    if not is_loopback(receive.bind) and not (receive.behind_tls_proxy and receive.calling_aes):
        yield (
            f"{origins['receive.bind']}: receive.bind is not loopback: an open DICOM port lets anybody in; "
            "set receive.behind_tls_proxy and list receive.calling_aes first"
        )


def _check_web(web: Web, origins: Mapping[str, str], unsound: Set[str], clients: Collection[str]) -> Iterable[str]:
    """Log-in, TLS and address of the HTTP side. What is wrong is told all at once."""
    yield from _check_secrets(web, origins, clients)
    for option, path in (("web.tls_certificate", web.tls_certificate), ("web.tls_key", web.tls_key)):
        if path is not None and not path.is_file():
            yield f"{origins[option]}: {option}: there is no file {path}"
    half = (web.tls_certificate is None) != (web.tls_key is None)
    if half and not unsound & {"web.tls_certificate", "web.tls_key"}:
        yield f"{origins['web.tls_certificate']}: web.tls_certificate and web.tls_key belong together"
    if web.external_url is not None and not _EXTERNAL_URL.fullmatch(web.external_url):
        yield f"{origins['web.external_url']}: web.external_url must be like https://name.example, without a path"
    for origin in web.cors_origins:
        if not _ORIGIN.fullmatch(origin):
            yield f"{origins['web.cors_origins']}: web.cors_origins: an origin is like https://viewer.example, without a path and no *"
    if "web.bind" not in unsound and not is_loopback(web.bind):
        yield from _check_open_web(web, f"{origins['web.bind']}: web.bind is not loopback", unsound)


def _check_fhir_write(settings: Settings, where: str) -> Iterable[str]:
    """Nobody writes without a name, except on this machine alone and when a person said so."""
    web = settings.web
    if web.fhir_write == "loopback" and (not is_loopback(web.bind) or web.behind_tls_proxy):
        yield f"{where} lets everybody on this machine write; it needs a web.bind on loopback and no web.behind_tls_proxy"
    if web.fhir_write == "scoped" and not (settings.clients or settings.issuers):
        yield f"{where} lets clients write that have a scope for it, but there is none; see the section clients"


def _check_secrets(web: Web, origins: Mapping[str, str], clients: Collection[str]) -> Iterable[str]:
    for name, line in web.users.items():
        if not name or ":" in name or not _PASSWORD.fullmatch(line):
            yield f"{origins['web.users']}: web.users: '{name}' needs a line that 'isobridge web-password' printed"
    for name, line in web.tokens.items():
        if not _TOKEN.fullmatch(line):
            yield f"{origins['web.tokens']}: web.tokens: '{name}' needs a line that 'isobridge web-token' printed"
    for name in web.stow_senders:
        if name not in web.users and name not in web.tokens and name not in clients:
            yield f"{origins['web.stow_senders']}: web.stow_senders: '{name}' is neither in web.users nor in web.tokens nor in clients"
    names = [*web.users, *web.tokens, *clients]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{origins['web.users']}: '{name}' is the name of two among web.users, web.tokens and clients; records tell them by it"


def _check_open_web(web: Web, where: str, unsound: Set[str]) -> Iterable[str]:
    """Promise 7: beyond this machine nothing is told in clear text, and nobody gets in without a name."""
    in_clear = web.tls_certificate is None and not web.behind_tls_proxy
    if in_clear and not unsound & {"web.tls_certificate", "web.behind_tls_proxy"}:
        yield f"{where}: set web.tls_certificate and web.tls_key, or web.behind_tls_proxy when a proxy does TLS"
    if not web.users and "web.users" not in unsound:
        yield f"{where}: nobody gets in by default; set web.users ('isobridge web-password' prints the line)"
    if web.external_url is None and "web.external_url" not in unsound:
        yield f"{where}: set web.external_url, the address that people and FHIR clients use"
