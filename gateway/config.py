"""Settings: the only reader of the settings file and of the environment.

Three sources, later ones win: the file, ``ISOBRIDGE_SECTION__KEY`` in the environment, ``--set section.key=value``. Every complaint is
collected and raised at once as :class:`Misconfigured`, with file and line. The defaults below run on loopback as they stand; each
option is explained once, in ``config/gateway.yaml`` (a test compares the two).
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway import folder_settings, target_settings, yamlfile
from gateway.dicom_settings import NESTED, CommitmentSettings, TlsSettings, commitment_complaints, tls_complaints
from gateway.errors import Misconfigured
from gateway.folder_settings import FolderSettings
from gateway.target_settings import DEFAULT_TARGETS, TargetSettings

ENVIRONMENT_PREFIX = "ISOBRIDGE_"

#: Sections that hold things with names of their own, each with its options.
_NAMED = frozenset({"targets", "folders"})

#: PS3.5 6.2, AE: printable, no backslash, no leading or trailing blank here.
_AE_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")


#: What ``isobridge web-password`` and ``isobridge web-token`` print.
_PASSWORD = re.compile(r"scrypt:\d{4,7}:\d{1,2}:\d{1,2}:[\w-]{16,}:[\w-]{32,}", re.ASCII)
_TOKEN = re.compile(r"sha256:[0-9a-f]{64}")
_EXTERNAL_URL = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d{1,5})?/?")


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
    max_pdu_kilobytes: int = 128
    max_object_megabytes: int = 2048
    request_timeout_secs: int = 10
    pdu_timeout_secs: int = 30
    idle_timeout_secs: int = 900
    tls: TlsSettings = field(default_factory=TlsSettings)
    storage_commitment: CommitmentSettings = field(default_factory=CommitmentSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spool:
    acknowledge_after: Literal["file", "row"] = "file"
    journal_megabytes: int = 96
    reserve_megabytes: int = 64


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
    folders: tuple[FolderSettings, ...] = ()
    web: Web = field(default_factory=Web)
    log: Log = field(default_factory=Log)

    @property
    def spool_directory(self) -> Path:
        return self.data.directory / "spool"

    @property
    def ledger_url(self) -> str:
        return self.ledger.url or f"sqlite:///{self.data.directory / 'ledger.db'}"

    @property
    def store_url(self) -> str:
        return self.store.url or f"sqlite:///{self.data.directory / 'store.db'}"

    @property
    def key_file(self) -> Path:
        return self.identity.key_file or self.data.directory / "keys" / "installation.key"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings with, for each ``section.key``, where its value came from."""

    settings: Settings
    origins: dict[str, str]

    def shown(self, name: str) -> str:
        """The value of ``section.key`` (or ``targets.name.key``) for people; a secret is never shown."""
        section, _, option = name.partition(".")
        if section not in _NAMED:
            value = attrgetter(name)(self.settings)
            if isinstance(value, dict) and "." in option:  # addresses and names of certificates: no secrets
                return ", ".join(f"{title}: {text}" for title, text in value.items()) or "-"
            return shown(value)
        wanted, _, option = option.partition(".")
        value = next(getattr(item, option) for item in getattr(self.settings, section) if item.name == wanted)
        return "***" if value and option in target_settings.SECRETS else shown(value)


@dataclass(frozen=True, slots=True)
class _Given:
    value: Any
    origin: str


def load(
    path: Path | None,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Iterable[str] = (),
    needs_mappings: bool = False,
) -> Loaded:
    """Read, merge and check all settings. Raises :class:`Misconfigured` with every complaint at once.

    ``needs_mappings``: that there is no folder of mappings is one of them.
    """
    complaints: list[str] = []
    given: dict[tuple[str, str], _Given] = {}
    if path is not None:
        given.update(_from_file(yamlfile.read(path), complaints))
    given.update(_from_environment(environment or {}))
    given.update(_from_overrides(overrides, complaints))
    leaves = {name: _leaves(given, name) for name in _NAMED}
    targets, target_origins = target_settings.build(leaves["targets"], convert=_convert, hint=_hint, complaints=complaints)
    folders, folder_origins = folder_settings.build(leaves["folders"], convert=_convert, hint=_hint, complaints=complaints)
    settings, origins, wrong = _build({key: entry for key, entry in given.items() if key[0] not in _NAMED}, complaints)
    mappings = dataclasses.replace(settings.mappings, directory=_beside(path, settings.mappings.directory))
    settings = dataclasses.replace(settings, targets=targets, folders=folders, mappings=mappings)
    origins |= target_origins | folder_origins
    complaints.extend(_check(settings, origins, wrong))
    complaints.extend(
        f"{origins[option]}: {text}" for option, text in folder_settings.conflicts(folders, settings.data.directory)
    )
    if needs_mappings:  # the question of `config check`: is everything there now?
        complaints.extend(f"{origins[option]}: {text}" for option, text in folder_settings.absent(folders))
    if needs_mappings and not mappings.directory.is_dir():
        complaints.append(f"{origins['mappings.directory']}: {no_mappings(mappings.directory)}")
    if complaints:
        raise Misconfigured(complaints)
    return Loaded(settings, origins)


def _leaves(given: Mapping[tuple[str, str], _Given], wanted: str) -> dict[str, tuple[Any, str]]:
    return {key: (entry.value, entry.origin) for (section, key), entry in given.items() if section == wanted}


def no_mappings(directory: Path) -> str:
    """The complaint about a folder of mappings that is not there."""
    return f"mappings.directory: there is no folder {directory}; set it to your mapping files"


def _beside(file: Path | None, directory: Path) -> Path:
    """A folder that the working directory does not have is looked for beside the settings file, so that both travel together."""
    if file is None or directory.is_absolute() or directory.is_dir():
        return directory
    beside = file.parent / directory
    return beside if beside.is_dir() else directory


def shown(value: object) -> str:
    """A setting for people: a password in a database URL is never shown, of users and tokens only the names are."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: ***" for name in value) or "-"
    return "-" if value is None else re.sub(r"(://[^:/@]+):[^@]*@", r"\1:***@", str(value))


def address(bind: str) -> tuple[str, int]:
    """``host:port`` or ``[v6]:port`` as a pair. Raises ``ValueError`` when it is neither."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:]+)\]|([^:\[\]]+)):(\d{1,5})", bind)
    if match is None or int(match[3]) > 65535:
        raise ValueError(f"'{bind}' is not host:port")
    return match[1] or match[2], int(match[3])


def is_loopback(bind: str) -> bool:
    host, _ = address(bind)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _from_file(document: yamlfile.Document, complaints: list[str]) -> dict[tuple[str, str], _Given]:
    if not isinstance(document.data, dict):
        complaints.append(f"{document.where(())}: expected sections such as 'receive:'")
        return {}
    given: dict[tuple[str, str], _Given] = {}
    for section, keys in document.data.items():
        if keys is None:
            continue
        if not isinstance(keys, dict):
            complaints.append(f"{document.where((section,))}: '{section}' must hold 'key: value' lines")
            continue
        for key, value in keys.items():
            if (section in _NAMED or (section, key) in NESTED) and isinstance(value, dict):
                for option, leaf in value.items():
                    given[section, f"{key}.{option}"] = _Given(leaf, document.where((section, key, option)))
            elif (section, key) in NESTED and value is not None:
                complaints.append(f"{document.where((section, key))}: {section}.{key} must hold 'key: value' lines")
            elif (section, key) not in NESTED:
                given[section, key] = _Given(value, document.where((section, key)))
    return given


def _from_environment(environment: Mapping[str, str]) -> dict[tuple[str, str], _Given]:
    given: dict[tuple[str, str], _Given] = {}
    for name, text in sorted(environment.items()):
        if not name.startswith(ENVIRONMENT_PREFIX) or "__" not in name:
            continue
        section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        secret = section == "targets" and key.rpartition("__")[2] in target_settings.SECRETS  # any text may be a password
        given[section, key.replace("__", ".")] = _Given(text if secret else _parse_text(text), f"environment {name}")
    return given


def _from_overrides(overrides: Iterable[str], complaints: list[str]) -> dict[tuple[str, str], _Given]:
    given: dict[tuple[str, str], _Given] = {}
    for override in overrides:
        match = re.fullmatch(r"([a-z_]+)\.([a-z0-9_]+(?:\.[a-z_]+)?)=(.*)", override)
        if match is None:
            complaints.append(f"--set {override}: expected section.key=value")
            continue
        given[match[1], match[2]] = _Given(_parse_text(match[3]), "--set")
    return given


def _parse_text(text: str) -> Any:
    """A value as the file would give it; what is no YAML (``[::1]:0``) is the text itself."""
    try:
        return yamlfile.parse(text, name="value").data if text else ""
    except Misconfigured:
        return text


def _build(given: Mapping[tuple[str, str], _Given], complaints: list[str]) -> tuple[Settings, dict[str, str], frozenset[str]]:
    """The settings, where each came from, and the options whose value is wrong: their defaults stand in for them."""
    origins: dict[str, str] = {}
    wrong: set[str] = set()
    sections = {name: kind for name, kind in get_type_hints(Settings).items() if name not in _NAMED}
    for (section, key), entry in given.items():
        known = _known(section, key, sections)
        word = key.rpartition(".")[2] if section in sections else section
        if word not in known or section not in sections:
            complaints.append(
                f"{entry.origin}: unknown {'option' if section in sections else 'section'} '{word}'{_hint(word, known)}"
            )
    built: dict[str, Any] = {}
    for section, kind in sections.items():

        def value_of(key: str, wanted: Any, section: str = section) -> Any:
            entry = given.get((section, key), _Given(None, "default"))
            origins[f"{section}.{key}"] = entry.origin
            if entry.origin == "default":
                return _DEFAULT
            try:
                return _convert(entry.value, wanted)
            except ValueError as error:
                complaints.append(f"{entry.origin}: {section}.{key} {error}")
                wrong.add(f"{section}.{key}")
                return _DEFAULT

        built[section] = _filled(kind, "", value_of)
    return Settings(**built), origins, frozenset(wrong)


_DEFAULT: Any = object()


def _known(section: str, key: str, sections: Mapping[str, type]) -> list[str]:
    """The words that may stand where ``key`` stands."""
    if section not in sections:
        return [*sections, *_NAMED]
    outer, dot, _ = key.partition(".")
    kind = NESTED.get((section, outer)) if dot else sections[section]
    names = [option.name for option in dataclasses.fields(kind)] if kind else []
    return names if dot else [name for name in names if (section, name) not in NESTED]


def _filled(kind: type, prefix: str, value_of: Callable[[str, Any], Any]) -> Any:
    """A section with all its options; those that have options themselves in the same way."""
    values: dict[str, Any] = {}
    for name, wanted in get_type_hints(kind).items():
        value = (
            _filled(wanted, f"{prefix}{name}.", value_of)
            if isinstance(wanted, type) and dataclasses.is_dataclass(wanted)
            else value_of(f"{prefix}{name}", wanted)
        )
        if value is not _DEFAULT:
            values[name] = value
    return kind(**values)


def _hint(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(sorted(known))}"


def _convert(value: Any, kind: Any) -> Any:
    """One value as its declared type, or ``ValueError`` with the end of the sentence '<option> ...'."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return None if value is None else _convert(value, next(arm for arm in get_args(kind) if arm is not type(None)))
    if origin is Literal:
        if value not in get_args(kind):
            raise ValueError(f"must be one of {', '.join(map(str, get_args(kind)))}")
        return value
    if origin is dict:
        return _pairs(value)
    if origin is tuple:
        items = value if isinstance(value, list) else [part for part in str(value).split(",") if part]
        return tuple(str(item).strip() for item in items)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if kind is str and isinstance(value, (str, int, Decimal)) and str(value):
        return str(value)
    if kind is Path and isinstance(value, str) and value:
        return Path(value)
    words = {bool: "true or false", int: "a whole number, 0 or more", str: "a text", Path: "a path"}
    raise ValueError(f"must be {words.get(kind, 'of another type')}")


def _pairs(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in (*value, *value.values())):
        raise ValueError("must hold 'name: text' pairs")
    return dict(value)


def _check_numbers(settings: Settings, origins: Mapping[str, str]) -> Iterable[str]:
    for option, url in (("ledger.url", settings.ledger.url), ("store.url", settings.store.url)):
        if url is not None and not url.startswith(("sqlite:///", "postgresql+psycopg://")):
            yield f"{origins[option]}: {option} must start with sqlite:/// or postgresql+psycopg://"
    for option in ("work.lease_secs", "work.batch_instances", "receive.max_associations", "receive.max_pdu_kilobytes"):
        section, _, name = option.partition(".")
        if getattr(getattr(settings, section), name) == 0:
            yield f"{origins[option]}: {option} must be 1 or more"


def _check(settings: Settings, origins: Mapping[str, str], wrong: frozenset[str]) -> Iterable[str]:
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
    yield from _check_web(settings.web, origins, unsound)


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


def _check_open_dicom(receive: Receive, origins: Mapping[str, str]) -> Iterable[str]:
    if not is_loopback(receive.bind) and not (receive.behind_tls_proxy and receive.calling_aes):
        yield (
            f"{origins['receive.bind']}: receive.bind is not loopback: an open DICOM port lets anybody in; "
            "set receive.behind_tls_proxy and list receive.calling_aes first"
        )


def _check_web(web: Web, origins: Mapping[str, str], unsound: Set[str]) -> Iterable[str]:
    """Log-in, TLS and address of the HTTP side. What is wrong is told all at once."""
    yield from _check_secrets(web, origins)
    for option, path in (("web.tls_certificate", web.tls_certificate), ("web.tls_key", web.tls_key)):
        if path is not None and not path.is_file():
            yield f"{origins[option]}: {option}: there is no file {path}"
    half = (web.tls_certificate is None) != (web.tls_key is None)
    if half and not unsound & {"web.tls_certificate", "web.tls_key"}:
        yield f"{origins['web.tls_certificate']}: web.tls_certificate and web.tls_key belong together"
    if web.external_url is not None and not _EXTERNAL_URL.fullmatch(web.external_url):
        yield f"{origins['web.external_url']}: web.external_url must be like https://name.example, without a path"
    if "web.bind" not in unsound and not is_loopback(web.bind):
        yield from _check_open_web(web, f"{origins['web.bind']}: web.bind is not loopback", unsound)


def _check_secrets(web: Web, origins: Mapping[str, str]) -> Iterable[str]:
    for name, line in web.users.items():
        if not name or ":" in name or not _PASSWORD.fullmatch(line):
            yield f"{origins['web.users']}: web.users: '{name}' needs a line that 'isobridge web-password' printed"
    for name, line in web.tokens.items():
        if not _TOKEN.fullmatch(line):
            yield f"{origins['web.tokens']}: web.tokens: '{name}' needs a line that 'isobridge web-token' printed"
    for name in web.stow_senders:
        if name not in web.users and name not in web.tokens:
            yield f"{origins['web.stow_senders']}: web.stow_senders: '{name}' is neither in web.users nor in web.tokens"


def _check_open_web(web: Web, where: str, unsound: Set[str]) -> Iterable[str]:
    """Promise 7: beyond this machine nothing is told in clear text, and nobody gets in without a name."""
    in_clear = web.tls_certificate is None and not web.behind_tls_proxy
    if in_clear and not unsound & {"web.tls_certificate", "web.behind_tls_proxy"}:
        yield f"{where}: set web.tls_certificate and web.tls_key, or web.behind_tls_proxy when a proxy does TLS"
    if not web.users and "web.users" not in unsound:
        yield f"{where}: nobody gets in by default; set web.users ('isobridge web-password' prints the line)"
    if web.external_url is None and "web.external_url" not in unsound:
        yield f"{where}: set web.external_url, the address that people and FHIR clients use"
