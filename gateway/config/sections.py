"""The sections of the settings with their defaults, which run on loopback as they stand.

Each option is explained once, in ``config/gateway.yaml`` (a test compares the two).
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from gateway.client_settings import ClientSettings, IssuerSettings
from gateway.dicom_settings import CommitmentSettings, TlsSettings
from gateway.folder_settings import FolderSettings
from gateway.sender_settings import SenderSettings
from gateway.source_settings import SourceSettings
from gateway.target_settings import DEFAULT_TARGETS, TargetSettings

#: Sections that hold things with names of their own, each with its options.
NAMED = frozenset({"targets", "folders", "sources", "senders", "issuers", "clients"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    name: str = "example"
    timezone: str = "Europe/Brussels"
    patient_id_system: str = "urn:isobridge:patient-id"
    accession_system: str = "urn:isobridge:accession"

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    directory: Path = Path("data")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    key_file: Path | None = None
    policy: Literal["clinical"] = "clinical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receive:
    bind: str = "127.0.0.1:11112"
    ae_title: str = "ISOBRIDGE"
    check_called_ae: bool = False
    calling_aes: tuple[str, ...] = ()
    behind_tls_proxy: bool = False
    accept_raw_data: bool = False
    max_associations: int = 50
    max_associations_per_address: int = 30
    max_pdu_kilobytes: int = 128
    max_object_megabytes: int = 2048
    request_timeout_secs: int = 10
    pdu_timeout_secs: int = 30
    idle_timeout_secs: int = 900
    minimum_bytes_per_sec: int = 1024
    tls: TlsSettings = field(default_factory=TlsSettings)
    storage_commitment: CommitmentSettings = field(default_factory=CommitmentSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spool:
    acknowledge_after: Literal["file", "row"] = "file"
    journal_megabytes: int = 96
    reserve_megabytes: int = 64
    reject_megabytes: int | None = None
    warn_megabytes: int | None = None

    @property
    def reject_mark_megabytes(self) -> int:
        """With less free space no new association is taken; 0: never."""
        return 2 * self.reserve_megabytes if self.reject_megabytes is None else self.reject_megabytes

    @property
    def warn_mark_megabytes(self) -> int:
        """With less free space the receiver says so; 0: never."""
        return 4 * self.reserve_megabytes if self.warn_megabytes is None else self.warn_megabytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mappings:
    directory: Path = Path("mappings")
    shadow_new_scanners: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather:
    quiet_secs: int = 60
    quiet_cap_secs: int = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Derive:
    suv_factor: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    lease_secs: int = 60
    batch_instances: int = 200
    poll_millisecs: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    retry_for_hours: int = 72


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    originals: Literal["keep", "release"] = "keep"
    days: int = 7
    scrub: bool = True
    night: str = "22:00-05:00"
    scrub_megabytes_per_sec: int = 40

    def is_night(self, at: dt.datetime) -> bool:
        """Whether ``at``, in the site's time, lies in the window ``night``."""
        begin, end = night_window(self.night)
        clock = at.time().replace(tzinfo=None)
        return begin <= clock < end if begin < end else clock >= begin or clock < end


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    bind: str = "127.0.0.1:8080"
    external_url: str | None = None
    users: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    behind_tls_proxy: bool = False
    stow_senders: tuple[str, ...] = ()
    stow_max_request_megabytes: int = 4096
    cors_origins: tuple[str, ...] = ()
    fhir_write: Literal["off", "loopback", "scoped"] = "off"
    fhir_max_request_megabytes: int = 32
    requests_per_minute: int = 6000

    @property
    def address(self) -> str | None:
        """Where clients find us, without a slash at its end; None when nobody can know (port 0 and no external_url)."""
        if self.external_url is not None:
            return self.external_url.rstrip("/")
        port = address(self.bind)[1]
        return f"{'https' if self.tls_certificate else 'http'}://{self.bind}" if port else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. ``daemon.py`` hands each part its own small section; nobody reads this whole."""

    site: Site = field(default_factory=Site)
    data: Data = field(default_factory=Data)
    identity: Identity = field(default_factory=Identity)
    receive: Receive = field(default_factory=Receive)
    spool: Spool = field(default_factory=Spool)
    ledger: Ledger = field(default_factory=Ledger)
    mappings: Mappings = field(default_factory=Mappings)
    gather: Gather = field(default_factory=Gather)
    derive: Derive = field(default_factory=Derive)
    work: Work = field(default_factory=Work)
    publish: Publish = field(default_factory=Publish)
    targets: tuple[TargetSettings, ...] = DEFAULT_TARGETS
    store: Store = field(default_factory=Store)
    retention: Retention = field(default_factory=Retention)
    folders: tuple[FolderSettings, ...] = ()
    sources: tuple[SourceSettings, ...] = ()
    senders: tuple[SenderSettings, ...] = ()
    issuers: tuple[IssuerSettings, ...] = ()
    clients: tuple[ClientSettings, ...] = ()
    web: Web = field(default_factory=Web)
    log: Log = field(default_factory=Log)

    @property
    def spool_directory(self) -> Path:
        return self.data.directory / "spool"

    @property
    def ledger_url(self) -> str:
        return self.ledger.url or f"sqlite:///{self.data.directory / 'ledger.db'}"

    @property
    def access_url(self) -> str:
        """Tokens given out and assertions seen: worth nothing after an hour."""
        return f"sqlite:///{self.data.directory / 'access.db'}"

    @property
    def audit_url(self) -> str:
        return f"sqlite:///{self.data.directory / 'audit.db'}"

    @property
    def store_url(self) -> str:
        return self.store.url or f"sqlite:///{self.data.directory / 'store.db'}"

    @property
    def key_file(self) -> Path:
        return self.identity.key_file or self.data.directory / "keys" / "installation.key"


def address(bind: str) -> tuple[str, int]:
    """``host:port`` or ``[v6]:port`` as a pair. Raises ``ValueError`` when it is neither."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:]+)\]|([^:\[\]]+)):(\d{1,5})", bind)
    if match is None or int(match[3]) > 65535:
        raise ValueError(f"'{bind}' is not host:port")
    return match[1] or match[2], int(match[3])


def night_window(text: str) -> tuple[dt.time, dt.time]:
    """``22:00-05:00`` as two times of day; equal ones mean all day. Raises ``ValueError``."""
    begin, dash, end = text.partition("-")
    if not dash:
        raise ValueError(f"'{text}' is not like 22:00-05:00")
    try:
        return dt.time.fromisoformat(begin.strip()), dt.time.fromisoformat(end.strip())
    except ValueError as error:
        raise ValueError(f"'{text}' is not like 22:00-05:00") from error


def is_loopback(bind: str) -> bool:
    host, _ = address(bind)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
