"""What the receiver is told at its start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveSettings:
    """All limits of the DICOM receiver. The defaults suit a department; the timeouts are those vendors expect."""

    ae_title: str = "ISOBRIDGE"
    calling_aes: tuple[str, ...] = ()  #: who may connect; empty: anybody
    check_called_ae: bool = False
    max_associations: int = 50
    max_pdu_bytes: int = 131_072  #: advertised, PS3.8 D.1
    request_timeout_secs: float = 10  #: from connecting to a complete association request
    pdu_timeout_secs: float = 30  #: from the first to the last byte of one PDU
    idle_timeout_secs: float = 900  #: between two PDUs
    accept_raw_data: bool = False  #: Raw Data Storage: list-mode files of many gigabytes
    max_object_bytes: int = 2 << 30
    acknowledge_after: Literal["file", "row"] = "file"
    reserve_bytes: int = 64 << 20
    storage_commitment: bool = False  #: the service is offered
    certificates: Mapping[str, frozenset[str]] = field(default_factory=dict)  #: AE title -> names of its certificate
    drain_timeout_secs: float = 10  #: how long a stop waits for objects that are half received
