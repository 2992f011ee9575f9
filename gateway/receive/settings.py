"""What the receiver is told at its start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerPolicy:
    """What is different for one calling AE title; None, or nothing: as for all."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()  #: from where it may call
    pdu_timeout_secs: float | None = None
    idle_timeout_secs: float | None = None

    def admits(self, peer: str) -> bool:
        """Whether the title may call from this address."""
        if not self.networks:
            return True
        try:
            address = ip_address(peer.partition("%")[0])
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self.networks)


_AS_ALL = CallerPolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveSettings:
    """All limits of the DICOM receiver. The defaults suit a department; the timeouts are those vendors expect."""

    ae_title: str = "ISOBRIDGE"
    calling_aes: tuple[str, ...] = ()  #: who may connect; empty: anybody
    check_called_ae: bool = False
    max_associations: int = 50
    max_associations_per_address: int = 0  #: 0: no limit of its own
    max_pdu_bytes: int = 131_072  #: advertised, PS3.8 D.1
    request_timeout_secs: float = 10  #: from connecting to a complete association request
    pdu_timeout_secs: float = 30  #: from the first to the last byte of one PDU
    idle_timeout_secs: float = 900  #: between two PDUs
    minimum_bytes_per_sec: int = 1024  #: of an object that is being sent, over ``pdu_timeout_secs``; 0: none
    accept_raw_data: bool = False  #: Raw Data Storage: list-mode files of many gigabytes
    max_object_bytes: int = 2 << 30
    acknowledge_after: Literal["file", "row"] = "file"
    warn_bytes: int = 0  #: with less free space than this a warning is logged
    reject_bytes: int = 0  #: with less, new associations are rejected for now; below the spool's reserve objects are refused
    storage_commitment: bool = False  #: the service is offered
    certificates: Mapping[str, frozenset[str]] = field(default_factory=dict)  #: AE title -> names of its certificate
    drain_timeout_secs: float = 10  #: how long a stop waits for objects that are half received
    callers: Mapping[str, CallerPolicy] = field(default_factory=dict)  #: AE title -> what is different for it

    def policy(self, calling_ae: str) -> CallerPolicy:
        return self.callers.get(calling_ae, _AS_ALL)

    def shortest_timeout_secs(self) -> float:
        """How often clocks must be looked at depends on it."""
        own = (
            secs for one in self.callers.values() for secs in (one.pdu_timeout_secs, one.idle_timeout_secs) if secs is not None
        )
        return min(self.request_timeout_secs, self.pdu_timeout_secs, self.idle_timeout_secs, *own)
