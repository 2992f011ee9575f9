"""The other direction of ``isobridge echo``: what became of a scanner's calls to us, in words for the people at both ends.

Reads what the receiver left in the ledger (:mod:`gateway.spool.callers`); no log is needed, and no DICOM tool on the scanner's side.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from gateway.config import Receive, address, is_loopback
from gateway.spool.callers import Caller
from gateway.workbench.scu import status_meaning

#: What to do, by the words the receiver gives as its reason (gateway.receive.negotiation, guard, connection).
_HINTS = (
    ("calling AE title is not on the list", "add it to receive.calling_aes (capitals matter) and restart the gateway"),
    ("called AE title is not ours", "type our title, {ours}, into the scanner, or set receive.check_called_ae: false"),
    ("is not DICOM", "something else than DICOM came in, often TLS: the scanner encrypts and this port does not, or the reverse"),
    ("no association request in time", "the line is open, but the caller said nothing: a port test, or one side expects TLS"),
    ("bound to no certificate", "add it to receive.tls.aes with its certificate, and restart the gateway"),
    ("not the one of the calling AE title", "compare the scanner's certificate with receive.tls.aes"),
    ("must come over TLS", "the scanner must use the TLS port, with its certificate"),
    (
        "caller's certificate is not accepted",
        "is it signed by receive.tls.client_ca_file, and still valid? The words in brackets tell",
    ),
    ("showed no certificate", "install a certificate on the scanner, or set receive.tls.client_certificate"),
    ("what came is not TLS", "the scanner does not encrypt: switch TLS on there, or let it use the plain port"),
    ("cipher suite", "the scanner's TLS is too old for the BCP 195 profile: update it, or put a proxy before it"),
    ("too many associations are open from", "raise receive.max_associations_per_address (0: no limit)"),
    ("may not call from this address", "the address is not among the networks of the sender: section senders"),
    ("the disk is filling up", "make room on the disk of the spool; spool.reject_megabytes is the mark"),
    ("too many associations", "raise receive.max_associations, or let the scanner use fewer connections"),
    ("application context", "the caller does not speak DICOM as we know it; ask its vendor"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened, or one piece of advice (``ok`` is None)."""

    ok: bool | None
    text: str

    def __str__(self) -> str:
        return f"{'      ' if self.ok is None else 'ok    ' if self.ok else 'FAIL  '}{self.text}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of one calling AE title since a point in time."""

    ok: bool  #: it has verified or stored, and nothing went wrong after that
    steps: tuple[Step, ...]


def judge(callers: Iterable[Caller], wanted: str, receive: Receive, zone: ZoneInfo, *, since: float = 0.0) -> Verdict:
    """Tell what callers that use the title ``wanted`` have achieved after ``since`` (seconds since 1970), and who else called."""
    steps: list[Step] = []
    good_at = bad_at = 0.0
    others: list[Caller] = []
    for caller in sorted(callers, key=lambda each: each.last_at):
        if caller.last_at <= since:
            continue
        if caller.calling_ae != wanted:
            others.append(caller)
            continue
        steps += _steps(caller, receive, zone, since)
        good_at = max(good_at, caller.echo_at or 0.0, caller.stored_at or 0.0)
        bad_at = max(bad_at, caller.rejection_at or 0.0, caller.refused_at or 0.0)
    is_ok = good_at > since and good_at >= bad_at
    if not is_ok:
        steps += _about_others(others, wanted, receive, zone, since)
    return Verdict(is_ok, tuple(steps))


def nothing_came(wanted: str, receive: Receive, *, port: int | None) -> Sequence[Step]:
    """Why a caller may not have been heard of at all, the likeliest first. ``port``: where the gateway listens, None: it does not run."""
    steps = [Step(False, f"{wanted} has not called")]
    if port is None:
        steps.append(Step(None, "the gateway is not running here: start it with 'isobridge serve'"))
    elif is_loopback(receive.bind):
        steps.append(
            Step(None, f"receive.bind is {receive.bind}: only programs on this machine, such as a TLS proxy, can reach it")
        )
    return [
        *steps,
        Step(None, "is the address that was typed into the scanner this machine's? 'isobridge setup-sheet' shows it"),
        Step(None, f"does a firewall on the way let TCP port {port or address(receive.bind)[1]} through?"),
        Step(None, f"is the scanner's own title really {wanted}? Capitals matter"),
    ]


def _steps(caller: Caller, receive: Receive, zone: ZoneInfo, since: float) -> list[Step]:
    """What one caller did, in the order of time."""
    who = f"{caller.calling_ae or 'a caller without a title'} from {caller.peer or 'this machine'}"
    found: list[tuple[float, Step]] = []

    def add(at: float | None, ok: bool | None, text: str) -> None:
        if at is not None and at > since:
            found.append((at, Step(ok, text if ok is None else f"{_clock(at, zone)} {text}")))

    if caller.contexts == 0:
        add(caller.association_at, False, f"associate: {who}: none of its {caller.proposed} SOP classes and syntaxes is accepted")
    else:
        add(
            caller.association_at,
            True,
            f"associate: {who} calls {caller.called_ae or '(nobody)'}: {caller.contexts} of {caller.proposed} contexts accepted",
        )
    add(caller.echo_at, True, f"C-ECHO: {who}: answered")
    add(caller.stored_at, True, f"C-STORE: {who}: {caller.stored} objects stored so far")
    if caller.refused_status is not None:
        meaning = status_meaning(caller.refused_status)
        add(caller.refused_at, False, f"C-STORE: {who}: an object was answered 0x{caller.refused_status:04X} ({meaning})")
        add(caller.refused_at, None, "'isobridge spool list --state quarantined' tells why")
    if caller.rejection_reason is not None:
        add(caller.rejection_at, False, f"associate: {who} calls {caller.called_ae or '(nobody)'}: {caller.rejection_reason}")
        add(caller.rejection_at, None, _hint(caller.rejection_reason, receive))
    return [step for _, step in sorted(found, key=lambda pair: pair[0])]


def _about_others(others: Sequence[Caller], wanted: str, receive: Receive, zone: ZoneInfo, since: float) -> list[Step]:
    """Somebody else called: perhaps it is the scanner, under another name than expected."""
    steps: list[Step] = []
    for caller in others[-3:]:
        if caller.calling_ae.casefold() == wanted.casefold():
            note = f"its title is {caller.calling_ae}, not {wanted}: capitals matter"
        else:
            note = f"is this your scanner? Then its title is not {wanted}" if caller.calling_ae else "is this your scanner?"
        steps += [*_steps(caller, receive, zone, since), Step(None, note)]
    return steps


def _hint(reason: str, receive: Receive) -> str:
    for words, hint in _HINTS:
        if words in reason:
            return hint.format(ours=receive.ae_title)
    return "the gateway's log tells more"


def _clock(at: float, zone: ZoneInfo) -> str:
    return dt.datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M:%S")
