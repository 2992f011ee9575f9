"""Writes the tables of docs/dicom-conformance.md from the code, so that the page cannot promise what negotiation refuses.

``make conformance`` runs it; a test fails when the page is not what this would write.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydicom.uid import UID
from pynetdicom.sop_class import _STORAGE_CLASSES

from gateway.config import Receive
from gateway.dicom.commitment import CLASS_CONFLICT, NO_SUCH_OBJECT, PUSH_MODEL
from gateway.dicom.commitment import PROCESSING_FAILURE as NOT_COMMITTED
from gateway.dicom.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gateway.dicom_settings import TLS12_SUITES
from gateway.receive import status
from gateway.receive.negotiation import RAW_DATA_STORAGE, VERIFICATION, storage_classes, transfer_syntaxes
from gateway.receive.settings import ReceiveSettings

_KEYWORDS = {uid: keyword for keyword, uid in _STORAGE_CLASSES.items()}

PAGE = Path("docs/dicom-conformance.md")

_STATUSES = (
    (
        status.SUCCESS,
        "Success",
        "The object is durable on this machine's disk: file and directory are synced.",
        "may delete its copy",
    ),
    (
        status.OUT_OF_RESOURCES,
        "Refused: Out of Resources",
        "No space beyond the reserve, larger than the limit, or the ledger cannot be written. Nothing is kept.",
        "sends again later",
    ),
    (
        status.DOES_NOT_MATCH,
        "Error: Data Set does not match SOP Class",
        "Another UID or SOP class than announced, or an identifying UID is missing or illegal. Kept in quarantine.",
        "does not send again; a person looks",
    ),
    (
        status.CANNOT_UNDERSTAND,
        "Error: Cannot understand",
        "Damaged or cut short: a length that does not fit, stray bytes, an element twice. Kept in quarantine.",
        "sends once more, then a person looks",
    ),
    (
        status.PROCESSING_FAILURE,
        "Processing failure",
        "A fault of the gateway; it is logged. Nothing is promised.",
        "sends again later",
    ),
    (
        status.UNRECOGNIZED_OPERATION,
        "Unrecognized operation",
        "Anything but C-ECHO, C-STORE and, where it is on, storage commitment.",
        "stops asking",
    ),
)


_FAILURES = (
    (
        NOT_COMMITTED,
        "Processing failure",
        "No archive holds the object within receive.storage_commitment.wait_minutes, or it was deleted there, or a person withdrew it.",
    ),
    (NO_SUCH_OBJECT, "No such object instance", "It never came, or it was refused when it came."),
    (
        CLASS_CONFLICT,
        "Class / Instance conflict",
        "It is of another SOP class, or two contents came under its UID and a person has not decided.",
    ),
)


def tables() -> dict[str, list[str]]:
    """The generated parts of the page by name, as lines of Markdown."""
    receive = Receive()
    accepted = storage_classes(ReceiveSettings(accept_raw_data=True))
    classes = [
        (_name(uid), uid, _remark(uid))
        for uid in (VERIFICATION, PUSH_MODEL, *sorted(accepted, key=lambda uid: (_name(uid), uid)))
    ]
    syntaxes = [(_name(uid), uid) for uid in sorted(transfer_syntaxes(), key=lambda uid: (_name(uid), uid))]
    limits = (
        ("Maximum PDU length received", f"{receive.max_pdu_kilobytes * 1024} bytes", "receive.max_pdu_kilobytes"),
        ("Simultaneous associations", f"{receive.max_associations}, and 2 more for C-ECHO only", "receive.max_associations"),
        ("Largest object", f"{receive.max_object_megabytes} MiB", "receive.max_object_megabytes"),
        ("Connection to association request", f"{receive.request_timeout_secs} s", "receive.request_timeout_secs"),
        ("First to last byte of one PDU", f"{receive.pdu_timeout_secs} s", "receive.pdu_timeout_secs"),
        ("Idle association", f"{receive.idle_timeout_secs} s", "receive.idle_timeout_secs"),
        ("Slowest object, over the time of one PDU", f"{receive.minimum_bytes_per_sec} bytes/s", "receive.minimum_bytes_per_sec"),
        ("Associations from one address", f"{receive.max_associations_per_address}", "receive.max_associations_per_address"),
        ("Asynchronous operations window", "not negotiated: one operation at a time", "-"),
        ("Implementation Class UID", IMPLEMENTATION_CLASS_UID, "-"),
        ("Implementation Version Name", IMPLEMENTATION_VERSION_NAME, "-"),
    )
    return {
        "sop-classes": _table(
            ("SOP Class", "SOP Class UID", "SCU", "SCP", "Remark"), ((n, u, "no", "yes", r) for n, u, r in classes)
        ),
        "transfer-syntaxes": _table(("Transfer Syntax", "UID"), syntaxes),
        "statuses": _table(("Status", "Meaning", "When", "The sender"), ((f"{code:04X}", *words) for code, *words in _STATUSES)),
        "commitment": _table(("Reason", "Name", "When"), ((f"{code:04X}", *words) for code, *words in _FAILURES)),
        "tls-suites": _table(("TLS", "Cipher suite (OpenSSL's name)"), (("1.2", name) for name in TLS12_SUITES)),
        "limits": _table(("What", "Default", "Setting"), limits),
    }


def written(page: str) -> str:
    """The page with its generated parts anew. Raises ``KeyError`` for a part that nobody generates."""
    made = tables()

    def fill(found: re.Match[str]) -> str:
        return f"{found[1]}\n" + "\n".join(made[found[2]]) + f"\n{found[3]}"

    return re.sub(r"(<!-- generated: ([a-z-]+) -->)\n.*?(<!-- end -->)", fill, page, flags=re.DOTALL)


def _name(uid: str) -> str:
    """The standard's name. Classes younger than pydicom's dictionary have at least their keyword."""
    name = UID(uid).name.replace(" (Retired)", "")
    return name if name != uid else _KEYWORDS.get(uid, uid)


def _remark(uid: str) -> str:
    if uid == RAW_DATA_STORAGE:
        return "only with receive.accept_raw_data"
    if uid == PUSH_MODEL:
        return "only with receive.storage_commitment; Explicit and Implicit VR Little Endian only"
    return "retired" if UID(uid).is_retired else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def main(path: Path = PAGE) -> None:
    """Rewrite the page in place."""
    path.write_text(written(path.read_text()))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
