"""Which administration a result belongs to. Exactly one candidate, or none: a wrong link is worse than a missing one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from gateway.gather.readings import injection_of
from gateway.gather.vital_signs import BODY
from gateway.model import Administration, Issue, JsonObject, Severity, SharedFields
from gateway.nuclear.results import KINDS, OF, Link
from gateway.nuclear.sameness import may_be_one


class Linker:
    """The administrations of one patient, ready to be asked. ``bound`` maps (record key, place in it) to an administration's id,
    ``frames`` a frame of reference to the administrations of its images."""

    def __init__(
        self,
        administrations: Sequence[Administration],
        bound: Mapping[tuple[str, int], str],
        frames: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self._frames = frames or {}
        self._administrations = administrations
        self._bound = bound
        self._ids = {item.key for item in administrations}
        self._by_event = {uid: item.key for item in administrations for uid in item.event_uids}
        self._by_study: dict[str, set[str]] = defaultdict(set)
        for item in administrations:
            for uid in item.study_uids:
                self._by_study[uid].add(item.key)

    def of(self, fields: JsonObject, shared: SharedFields) -> tuple[str | None, Issue | None]:
        """The id of the administration of a result, and what somebody must know when there is none."""
        kind = KINDS[fields["kind"]]
        found, reason = self._told(fields, shared)
        if found is None and reason is None:
            found = self._only(self.of_record(shared))
            # Images of one visit repeat what is known of the body: the CT of a PET/CT too, which tells of no injection.
            if found is None and (kind.administration is Link.REQUIRED or kind.name == BODY):
                found = self._only(self._around(shared))
        if found is not None or kind.administration is not Link.REQUIRED:
            return found, None
        reason = reason or (
            "its study tells of several" if len(self._around(shared)) > 1 else "its document and its study name none"
        )
        told = f"{kind.title} belongs to no known administration: {reason}."
        return None, Issue(field=kind.name, reason=told, severity=Severity.WARNING)

    def _around(self, shared: SharedFields) -> tuple[str, ...]:
        """The administrations of the same study; of none or of several, those of the same frame of reference."""
        of_study = self._by_study.get(str(shared.study.get("uid")), set())
        of_frame = self._frames.get(str(shared.series.get("frame_of_reference")), frozenset())
        if len(of_study) == 1 or not of_frame:
            return tuple(of_study)
        return tuple(of_study & of_frame if of_study else of_frame)

    def of_record(self, shared: SharedFields) -> tuple[str, ...]:
        """The administrations that a record itself tells of."""
        places = range(len(shared.administrations))
        return tuple(dict.fromkeys(key for index in places if (key := self._bound.get((shared.key, index)))))

    def _told(self, fields: JsonObject, shared: SharedFields) -> tuple[str | None, str | None]:
        """What the result itself says of its administration: the id, or why what it says leads nowhere."""
        if OF in fields:
            return self._bound.get((shared.key, fields[OF])), None
        hint = fields.get("administration") or {}
        if "id" in hint:  # a table that was bound to one, by its tolerances or by a person
            return (hint["id"], None) if hint["id"] in self._ids else (None, "the one it was bound to is gone")
        for uid in (hint.get("event_uid"), fields.get("event_uid")):
            if uid in self._by_event:
                return self._by_event[str(uid)], None
        if not {"started_at", "activity"} & hint.keys():
            return None, None
        reference = injection_of(hint)
        fitting = [item.key for item in self._administrations if may_be_one(reference, injection_of(item.fields))]
        if len(fitting) == 1:
            return fitting[0], None
        return None, "more than one fits what is told of it" if fitting else "none fits what is told of it"

    @staticmethod
    def _only(keys: Sequence[str]) -> str | None:
        return keys[0] if len(keys) == 1 else None
