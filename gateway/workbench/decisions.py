"""What people decide about a study, and what they look at before they do. The command line and the page call the same functions.

Each function is one decision: taken up by the running gateway at once, kept with name, reason and time, and undone by a later one
only. Raises :class:`~gateway.errors.Rejected` with a sentence for people when nothing was changed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from gateway.errors import Rejected
from gateway.gather.patient import PatientKeys
from gateway.model import JsonObject
from gateway.spool.decisions import BAD_REQUEST, By
from gateway.spool.ledger import Ledger
from gateway.spool.standing import Decision

#: PS3.5 6.2: a Long String (LO) holds 64 characters.
_MOST_ID = 64

_DONE = {
    "accept": "what was held for its patient id belongs to the study's patient",
    "content": "the chosen content is in force",
    "reassign": "moved to the other patient",
    "withdraw": "withdrawn: it will be marked as cancelled, its facts as entered in error",
    "undo": "the latest decision holds no longer",
}


def show(ledger: Ledger, study_uid: str) -> JsonObject:
    """All that is known of a study, as plain data: arrivals, series, patient keys, what is held, contents, decisions, versions."""
    return ledger.decisions.overview(study_uid)


def accept(ledger: Ledger, study_uid: str, *, reason: str, by: str, now: float, digest: str | None = None) -> Decision:
    """What is held for its patient id belongs to the study; or, with ``digest``, that content of an object is the right one."""
    who = By(name=by, reason=reason, at=now)
    return ledger.decisions.accept_content(study_uid, digest, who) if digest else ledger.decisions.accept(study_uid, who)


def reassign(
    ledger: Ledger,
    patients: PatientKeys,
    study_uid: str,
    *,
    to: str,
    reason: str,
    by: str,
    now: float,
    issuer: str = "",
    only_held: bool = False,
) -> Decision:
    """The study, or only what is held of it, belongs to the patient with this id; without ``issuer`` it is an id of the site."""
    if not to.strip() or len(to.strip()) > _MOST_ID or not to.isprintable() or "\\" in to:
        raise Rejected(f"A patient id has 1 to {_MOST_ID} printable characters, none of them a backslash.", status=BAD_REQUEST)
    if not issuer.isprintable() or (len(issuer.strip().split()) > 1 and issuer.startswith(("urn:", "http"))):
        raise Rejected("The issuer of a patient id is a name, an OID or a URI.", status=BAD_REQUEST)
    key = patients.named(to.strip(), issuer.strip())
    return ledger.decisions.reassign(study_uid, key, By(name=by, reason=reason, at=now), only_held=only_held)


def withdraw(ledger: Ledger, study_uid: str, *, reason: str, by: str, now: float) -> Decision:
    """The study must not be published."""
    return ledger.decisions.withdraw(study_uid, By(name=by, reason=reason, at=now))


def undo(ledger: Ledger, study_uid: str, *, reason: str, by: str, now: float) -> Decision:
    """The latest decision in force holds no longer."""
    return ledger.decisions.undo(study_uid, By(name=by, reason=reason, at=now))


def decided_line(decision: Decision) -> str:
    """What a person reads after a decision."""
    return f"decision {decision.id}: {_DONE[decision.kind]}; the running gateway takes it up at once"


def study_lines(view: JsonObject) -> Iterator[str]:
    """A study on the operator's own terminal. Patient ids are shown, names are not."""
    state = "withdrawn" if view["withdrawn"] else "open" if view["open"] else "settled"
    yield f"study {view['uid']}  {state}"
    if view["problem"]:
        yield f"  cannot be published: {view['problem']}"
    yield "arrived"
    for item in view["arrivals"]:
        when = f"{_time(item['first_at'])} to {_time(item['last_at'])}"
        yield f"  {item['objects']:>6} {_objects(item['objects'])}  {item['door']}  from {item['calling_ae'] or '-'}  {when}"
    yield "series"
    for item in view["series"]:
        counts = ", ".join(f"{number} {name}" for name, number in sorted(item["states"].items()))
        yield f"  {item['uid']}  {counts}"
    yield "patients"
    for item in view["patients"]:
        mark = "*" if item["is_subject"] else " "
        named = "" if item["original_key"] == item["patient_key"] else f"  (headers say {item['original_key']})"
        held = f", {item['held']} held" if item["held"] else ""
        yield f" {mark} {item['patient_key']}  {item['objects']} {_objects(item['objects'])}{held}{named}"
    yield from _held_lines(view)
    yield from _decision_lines(view)
    yield "published"
    for item in view["versions"]:
        where = f"{item['target']}: {item['delivery']}" if item["target"] else "no target"
        yield f"  version {item['version']}  sealed {_time(item['sealed_at'])}  {where}"
    if not view["versions"]:
        yield "  nothing yet"
    yield from _image_lines(view)


def _image_lines(view: JsonObject) -> Iterator[str]:
    if view["images"]:
        yield "images"
    for item in view["images"]:
        counts = ", ".join(f"{number} {state}" for state, number in sorted(item["states"].items()))
        yield f"  {item['target']}  {item['variant']}  {counts}"
        for told in item["reasons"]:
            yield f"    {told['objects']} {told['state']}: {told['reason']}"


def _held_lines(view: JsonObject) -> Iterator[str]:
    yield f"held: {view['held_count']}" if view["held_count"] else "held: nothing"
    for item in view["held"]:
        yield f"  {item['digest'][:16]}  {item['sop_instance_uid'] or '(no SOP Instance UID)'}  {item['reason']}"
    if view["contents"]:
        yield "objects with several contents"
    for item in view["contents"]:
        yield f"  {item['sop_instance_uid']}"
        for content in item["contents"]:
            mark = "*" if content["in_force"] else " "
            said = f"{content['state']}  {content['size_bytes']} bytes  {content['reason'] or ''}"
            yield f"  {mark} {content['digest'][:16]}  {said}".rstrip()


def _decision_lines(view: JsonObject) -> Iterator[str]:
    if view["decisions"]:
        yield "decisions"
    for item in view["decisions"]:
        undone = "  (undone)" if item["undone"] else ""
        moved = f" to {item['to_key']}" if item["to_key"] else f" of decision {item['undoes']}" if item["undoes"] else ""
        said = f"{item['kind']}{moved}  by {item['decided_by']}: {item['reason']}{undone}"
        yield f"  {item['id']:>4}  {_time(item['decided_at'])}  {said}"


def _objects(number: int) -> str:
    return "object" if number == 1 else "objects"


def _time(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
