"""The page that lies beside the scanner's console while it is told where to send: what to type, what answers mean, how to test.

Everything comes from the settings, so that the sheet cannot disagree with the gateway.
"""

from __future__ import annotations

import socket
import textwrap
from dataclasses import asdict, dataclass
from typing import Any

from pydicom.uid import UID

from gateway import __version__
from gateway.config import Settings, address, is_loopback
from gateway.receive.negotiation import storage_classes
from gateway.receive.settings import ReceiveSettings

_WIDTH = 96  #: fits an A4 page at 9 points

#: What a nuclear medicine scanner or workstation should be told to send, and why. The receiver takes all storage classes.
_WANTED = (
    ("1.2.840.10008.5.1.4.1.1.128", "PET images; their headers hold the injection"),
    ("1.2.840.10008.5.1.4.1.1.20", "planar, SPECT and dynamic images"),
    ("1.2.840.10008.5.1.4.1.1.2", "CT for attenuation and localisation"),
    ("1.2.840.10008.5.1.4.1.1.7", "screen captures of the workstation"),
    ("1.2.840.10008.5.1.4.1.1.88.67", "CT dose report (RDSR)"),
    ("1.2.840.10008.5.1.4.1.1.88.68", "radiopharmaceutical dose report (RRDSR): activity, agent, times"),
)
_PREFERRED = (
    ("Explicit VR Little Endian", "1.2.840.10008.1.2.1", "first choice"),
    ("Implicit VR Little Endian", "1.2.840.10008.1.2", "if the scanner knows nothing else"),
    ("JPEG Lossless, first-order prediction", "1.2.840.10008.1.2.4.70", "fine; stored as it comes"),
)
#: The answers of C-STORE (PS3.4 table B.2-1) as the person at the scanner should read them.
STATUSES = (
    ("0000", "stored", "safe on disk here; the scanner may delete its copy after the usual time"),
    ("A700", "no room just now", "nothing was kept; send again later, and tell IT (disk full or database down)"),
    ("A900", "not what was announced", "kept aside; do not send again, tell IT"),
    ("C000", "cannot be read", "kept aside; damaged or cut short on the way; send once more, then tell IT"),
    ("0110", "fault of the gateway", "tell IT with the time; send again later"),
    ("rejected", "no connection allowed", "titles do not match: compare with this page"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupSheet:
    """All that is on the page. ``hosts``: the names and addresses under which scanners may reach this machine."""

    site: str
    ae_title: str
    hosts: tuple[str, ...]
    port: int
    reachable: bool
    encrypted: bool
    tls_port: int | None
    tls_certificate: str  #: required, optional or none: of the scanner
    storage_commitment: bool
    check_called_ae: bool
    calling_aes: tuple[str, ...]
    sop_classes: tuple[tuple[str, str, str], ...]  #: name, UID, why
    more_sop_classes: int
    transfer_syntaxes: tuple[tuple[str, str, str], ...]
    max_pdu_bytes: int
    max_associations: int
    idle_timeout_secs: int
    version: str = __version__

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "statuses": [{"status": status, "meaning": meaning, "what_to_do": todo} for status, meaning, todo in STATUSES],
        }


def setup_sheet(
    settings: Settings, *, host: str | None = None, port: int | None = None, tls_port: int | None = None
) -> SetupSheet:
    """The sheet of this gateway. ``host``: the name scanners use, when it is known; the ports: the real ones, when the setting is 0."""
    receive = settings.receive
    bound_host, bound_port = address(receive.bind)
    secure = receive.tls.bind
    secure_port = (tls_port or address(secure)[1]) if secure is not None else None
    if secure is not None and is_loopback(receive.bind) and not is_loopback(secure):
        bound_host, port = address(secure)[0], secure_port  # the only one that scanners can reach
    accepted = storage_classes(ReceiveSettings(accept_raw_data=receive.accept_raw_data))
    return SetupSheet(
        site=settings.site.name,
        ae_title=receive.ae_title,
        hosts=(host,) if host else _hosts(bound_host),
        port=port or bound_port,
        reachable=not is_loopback(receive.bind) or (secure is not None and not is_loopback(secure)),
        encrypted=receive.behind_tls_proxy,
        tls_port=secure_port,
        tls_certificate=receive.tls.client_certificate,
        storage_commitment=receive.storage_commitment.mode != "off",
        check_called_ae=receive.check_called_ae,
        calling_aes=receive.calling_aes,
        sop_classes=tuple((UID(uid).name, uid, why) for uid, why in _WANTED),
        more_sop_classes=len(accepted) - len(_WANTED),
        transfer_syntaxes=_PREFERRED,
        max_pdu_bytes=receive.max_pdu_kilobytes * 1024,
        max_associations=receive.max_associations,
        idle_timeout_secs=receive.idle_timeout_secs,
    )


def sheet_lines(sheet: SetupSheet) -> list[str]:
    """The page as text, A4 wide."""
    lines = [f"DICOM setup sheet: {sheet.site}", "=" * (19 + len(sheet.site)), ""]
    lines += _warnings(sheet)
    lines += ["Type into the scanner (DICOM destination, storage server, send target)", ""]
    lines += _table(
        ("AE title (theirs)", sheet.ae_title + ("   exactly so; capitals matter" if sheet.check_called_ae else "")),
        ("host or IP address", "  or  ".join(sheet.hosts)),
        ("port", str(sheet.port)),
        ("scanner's own AE title", ", ".join(sheet.calling_aes) or "any (no list is set)"),
        ("encryption (TLS)", _encryption(sheet)),
        (
            "storage commitment",
            "on; the same address. IT must know the scanner's own for answers" if sheet.storage_commitment else "off",
        ),
        ("query, retrieve, worklist, MPPS", "off; this is a storage server only"),
        ("compression", "none, or lossless; never lossy for quantitative images"),
        ("timeouts at the scanner", "connect 30 s, answer 120 s or longer"),
        (
            "connections at once",
            f"1 to 4 (at most {sheet.max_associations}); idle ones are closed after {sheet.idle_timeout_secs} s",
        ),
        ("maximum PDU", f"{sheet.max_pdu_bytes:,} bytes, or the scanner's default"),
    )
    lines += ["", f"SOP classes to send (all others with pixels or reports are taken as well: {sheet.more_sop_classes} more)", ""]
    lines += _table(*((name, why) for name, _uid, why in sheet.sop_classes), width=46)
    lines += ["", "Transfer syntaxes, best first", ""]
    lines += _table(*((name, f"{uid:<24}{why}") for name, uid, why in sheet.transfer_syntaxes), width=46)
    lines += ["", "What the scanner shows afterwards, and what to do", ""]
    lines += _table(*((f"{status}  {meaning}", todo) for status, meaning, todo in STATUSES), width=34)
    lines += ["", "Test", ""]
    return (
        lines
        + _how_to_test(sheet)
        + ["", f"Isobridge {sheet.version}. No medical device; keeps what it gets, changes nothing in it."]
    )


def _encryption(sheet: SetupSheet) -> str:
    if sheet.tls_port is not None:
        own = {
            "required": ", the scanner's own certificate is needed",
            "optional": "",
            "none": ", without a certificate of its own",
        }
        return f"yes: port {sheet.tls_port}, TLS 1.2 or 1.3{own[sheet.tls_certificate]}; ask IT for our authority's certificate"
    return "yes, at the proxy; ask IT for its port and certificate" if sheet.encrypted else "no"


def _warnings(sheet: SetupSheet) -> list[str]:
    if sheet.reachable:
        return []
    proxy = (
        "scanners must go through the TLS proxy, whose port is not known here."
        if sheet.encrypted
        else "set receive.bind, receive.calling_aes and receive.behind_tls_proxy first (docs/operations.md)."
    )
    text = f"WARNING: the gateway listens on loopback only. A scanner cannot reach it: {proxy}"
    return [*textwrap.wrap(text, _WIDTH), ""]


def _how_to_test(sheet: SetupSheet) -> list[str]:
    caller = sheet.calling_aes[0] if sheet.calling_aes else "SCANNER"
    host = next((name for name in sheet.hosts), "HOST")
    encrypted = " +tls KEY CERT +cf CA" if sheet.port == sheet.tls_port else ""
    return [
        "  1. Here:          isobridge echo --from " + caller + " --wait 300",
        "  2. At the scanner: press 'verify', 'ping' or 'echo' for this destination; then send one image.",
        "     Step 1 tells what arrived, or why not.",
        f"  From another PC:  echoscu -aet {caller} -aec {sheet.ae_title}{encrypted} {host} {sheet.port}",
    ]


def _table(*rows: tuple[str, str], width: int = 32) -> list[str]:
    lines: list[str] = []
    for name, text in rows:
        first, *rest = textwrap.wrap(text, _WIDTH - width - 3) or [""]
        lines.append(f"  {name:<{width}} {first}".rstrip())
        lines += [f"  {'':<{width}} {line}" for line in rest]
    return lines


def _hosts(bound: str) -> tuple[str, ...]:
    """Under which addresses this machine can be reached. Asks the system only; nothing is sent."""
    if bound not in ("0.0.0.0", "::"):  # noqa: S104  # compared, not bound
        return (bound,)
    found: list[str] = [socket.getfqdn()]
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        # Connecting a datagram socket sends nothing; it only lets the system choose the address it would send from.
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            try:
                sock.connect((far, 9))
            except OSError:
                continue  # no route of this family
            found.append(str(sock.getsockname()[0]))
    return tuple(dict.fromkeys(found))
