"""Facts of dosimetry from all documents of a patient: each linked to its administration, told once, minted once.

The same fact told by several documents is one: a report counts before a table, a table before a header; of two tables the newer.
Different values of equal rank stay apart and are told. Pure, a function of the whole set of records: the order of arrival does not
matter.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from gateway.gather.choose import canonical
from gateway.gather.documents import Told
from gateway.gather.dose_maps import unlinked
from gateway.gather.identity import assign_keys, replacements
from gateway.gather.links import Linker
from gateway.gather.radiobiology import checked
from gateway.gather.readings import Source
from gateway.gather.rules import allowed, remarks_on, status_of
from gateway.gather.vital_signs import BODY, of_one_moment
from gateway.model import Administration, Document, DoseResult, Issue, JsonObject, Severity
from gateway.nuclear.results import KINDS, LABEL, OF, PLACE, THERAPEUTIC, Link

#: Two numbers agree when they differ by no more than half a unit of the last digit of the coarser one.
_AGREE = Decimal("0.5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """One result as one document tells it."""

    fields: JsonObject
    document: Told
    words: str  #: what the fact is about, as a name within its subject
    administration: str | None
    issues: tuple[Issue, ...] = ()
    also: tuple[str, ...] = ()  #: words that it was known by before its region had a name
    is_joined: bool = False  #: a header's word on the patient's body that counts as that of a dose report

    @property
    def kind(self) -> str:
        return str(self.fields["kind"])

    @property
    def place(self) -> tuple[int, bool]:
        """Whose word counts first."""
        return (self.document.rank, not self.document.verified)

    @property
    def subject(self) -> str:
        """What the fact belongs to: its administration, its irradiation event, else its document, whatever took its place since."""
        if self.document.rank is Source.IMAGE and self.kind == BODY and not self.is_joined:
            study = self.document.shared.study.get("uid")
            if (
                study
            ):  # whatever is known of administrations yet: each series of a study repeats what its headers say of the patient
                return f"study|{study}"
        if self.administration is not None:
            return f"administration|{self.administration}"
        if KINDS[self.kind].administration is Link.NEVER and self.fields.get("event_uid"):
            return f"event|{self.fields['event_uid']}"
        return f"document|{self.document.line[-1]}"

    @property
    def names(self) -> list[str]:
        """Its names in its own document and in those before it."""
        words = dict.fromkeys((self.words, *self.also))
        return [f"document|{key}|{self.within}{told}" for told in words for key in self.document.line]

    @property
    def within(self) -> str:
        """Tells apart what one document tells of several administrations."""
        of = self.fields.get(OF)
        if of is None:
            return ""
        told = self.document.shared.administrations[of]
        return f"{told.get('event_uid') or of}|"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What the results of a patient came to."""

    results: tuple[DoseResult, ...] = ()
    documents: tuple[Document, ...] = ()
    minted: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)


#: Said of each of several values that one document gives for one fact.
_TWICE = "Its document gives different values for it, and none counts before the others: they are kept apart."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fact:
    """Tellings that are one fact, the one that is published first."""

    names: tuple[str, ...]
    tellings: tuple[Telling, ...]
    issues: tuple[Issue, ...] = ()


def gather_results(
    documents: Sequence[Told],
    administrations: Sequence[Administration],
    bound: Mapping[tuple[str, int], str],
    *,
    known: Mapping[str, str],
    mint: Callable[[str], str],
    replaced: Mapping[str, str] | None = None,
    frames: Mapping[str, frozenset[str]] | None = None,
) -> Gathered:
    """Gather the results of a patient.

    ``bound`` maps an administration of a record (its key, the place in it) to the id of the fact that it became; ``known`` and
    ``replaced`` are what the ledger remembers of results, ``mint`` makes an id from a name; ``frames`` maps a frame of reference to
    the administrations of its images.
    """
    linker = Linker(administrations, bound, frames or {})
    tellings: list[Telling] = []
    withheld: dict[str, list[Issue]] = defaultdict(list)
    therapies = _therapies(documents, linker)
    for document in documents:
        for telling in _tellings(document, linker):
            problem = allowed(telling.fields, therapy=telling.administration in therapies) if document.stands else None
            problem = problem or unlinked(telling.fields, document, telling.administration)
            if problem is None:
                tellings.append(telling)
            else:
                withheld[document.key].append(problem)
    tellings = of_one_moment(tellings, administrations)
    facts = _told_apart(
        [fact for group in _grouped(one for one in tellings if one.document.stands) for fact in _one_or_apart(group)]
    )
    keys = assign_keys([fact.names for fact in facts], known, mint)
    before = _superseded(tellings)
    results = checked(sorted((_result(keys[fact.names], fact, before) for fact in facts), key=lambda one: (one.kind, one.key)))
    return Gathered(
        results=results,
        documents=tuple(_document(one, linker, withheld[one.key]) for one in documents),
        minted={alias: one.key for one in results for alias in one.aliases if known.get(alias) != one.key},
        replaced=replacements(results, known, replaced or {}),
    )


def _therapies(documents: Iterable[Told], linker: Linker) -> set[str]:
    """Administrations that a document calls therapeutic, whatever another one says of its own facts."""
    said = [one for one in documents if one.stands and (one.fields.get("intent") or {}).get("code") in THERAPEUTIC]
    return {key for one in said for key in linker.of_record(one.shared)}


def _tellings(document: Told, linker: Linker) -> Iterable[Telling]:
    repeats: Counter[tuple[Any, str]] = Counter()
    about = [(fields.get(OF), _words(fields)) for fields in document.shared.results]
    contradicted = _contradicted(about, document.shared.results)
    for subject, fields in zip(about, document.shared.results, strict=True):
        administration, issue = linker.of(fields, document.shared)
        if KINDS[fields["kind"]].administration is Link.NEVER:
            administration, issue = None, None
        repeats[subject] += 1
        again, words = repeats[subject], subject[1]
        twice = Issue(field=fields["kind"], reason=_TWICE, severity=Severity.WARNING) if subject in contradicted else None
        yield Telling(
            fields=fields,
            document=document,
            words=words if again == 1 else f"{words}|{again}",
            administration=administration,
            issues=tuple(one for one in (issue, twice) if one),
            also=unnamed(fields),
        )


def _words(fields: JsonObject) -> str:
    also = unnamed(fields)
    return also[0] if also and not fields.get("region") else signature(fields)


def _contradicted(about: Sequence[tuple[Any, str]], results: Sequence[JsonObject]) -> set[tuple[Any, str]]:
    """What one document gives different values for. Only of effects of an administration: planes and sources of X-ray repeat."""
    first: dict[tuple[Any, str], JsonObject] = {}
    found: set[tuple[Any, str]] = set()
    for subject, fields in zip(about, results, strict=True):
        if KINDS[fields["kind"]].administration is not Link.REQUIRED or "absent" in fields:
            continue
        if not agree(first.setdefault(subject, fields), fields):
            found.add(subject)
    return found


def unnamed(fields: JsonObject) -> tuple[str, ...]:
    """What a result is about while its region is a number: the number stands for the name, before and after there is one."""
    bare = {name: value for name, value in fields.items() if name not in ("region", "laterality")}
    return (f"{signature(bare)}|{fields[PLACE]}",) if PLACE in fields else ()


def signature(fields: JsonObject) -> str:
    """What a result is about, as a name: kind, region, side, lesion, statistic, what is measured, parameter, intent, software, event.

    A kind that is measured again and again is told apart by its time as well.
    """
    lesion, parameter = fields.get("lesion") or {}, fields.get("parameter") or {}
    words = [
        fields["kind"],
        _word(fields.get("region")),
        _word(fields.get("laterality")),
        lesion.get("tracking_uid") or lesion.get("tracking_id") or lesion.get("label"),
        _word(fields.get("statistic")),
        _word(fields.get("code")),
        " ".join(str(parameter[name]) for name in ("name", "value", "unit") if name in parameter),
        fields.get("intent"),
        (fields.get("software") or {}).get("name"),
        fields.get("event_uid"),
        fields.get("at") if KINDS[fields["kind"]].timed else None,
    ]
    return "|".join(str(word) if word else "-" for word in words)


def _word(concept: Any) -> str | None:
    return (concept.get("code") or concept.get("text")) if isinstance(concept, dict) else None


def _grouped(tellings: Iterable[Telling]) -> list[list[Telling]]:
    """Tellings of the same thing of the same subject; in each the ones that count first come first."""
    groups: dict[str, list[Telling]] = defaultdict(list)
    for telling in tellings:
        groups[f"{telling.subject}|{telling.words}"].append(telling)
    return [sorted(group, key=lambda one: (one.place, one.document.key)) for _, group in sorted(groups.items())]


def _told_apart(facts: Sequence[_Fact]) -> list[_Fact]:
    """Without the names that several facts claim, as those of a predecessor that two documents name: they would lead to either."""
    claims = Counter(name for fact in facts for name in fact.names)
    return [replace(fact, names=tuple(name for name in fact.names if claims[name] == 1)) for fact in facts]


def _one_or_apart(group: Sequence[Telling]) -> Iterable[_Fact]:
    first = [one for one in group if one.place == group[0].place]
    first = _newest(first)
    name = f"{first[0].subject}|{first[0].words}"
    if not all(agree(first[0].fields, one.fields) for one in first):
        reason = f"{len(first)} documents give different values, and none counts before the others: they are kept apart."
        told = Issue(field=first[0].kind, reason=reason, severity=Severity.WARNING)
        for one in first:
            yield _Fact(names=(f"{name}|{one.document.key}", *one.names), tellings=(one,), issues=(told,))
        return
    chosen = max(first, key=lambda one: (_digits(one.fields), -_order(first, one)))
    rest = [one for one in group if one is not chosen]
    names = dict.fromkeys((name, *(alias for one in (chosen, *rest) for alias in one.names)))
    issues = [_differs(one) for one in rest if not agree(chosen.fields, one.fields)]
    yield _Fact(names=tuple(names), tellings=(chosen, *rest), issues=tuple(dict.fromkeys(issues)))


def _order(tellings: Sequence[Telling], one: Telling) -> int:
    return next(index for index, other in enumerate(tellings) if other is one)


def _newest(tellings: Sequence[Telling]) -> list[Telling]:
    """Of tables the newest: a later export takes the place of an earlier one."""
    if tellings[0].document.rank is not Source.TABLE:
        return list(tellings)
    latest = max(str(one.document.fields.get("created_at") or "") for one in tellings)
    return [one for one in tellings if str(one.document.fields.get("created_at") or "") == latest]


def _differs(telling: Telling) -> Issue:
    source = {Source.REPORT: "Another report", Source.TABLE: "A table", Source.IMAGE: "An image header"}[telling.document.rank]
    reason = f"{source} gives another value, which counts less and is not published."
    return Issue(field=telling.kind, reason=reason, severity=Severity.WARNING)


def agree(one: JsonObject, other: JsonObject) -> bool:
    """True when two results say the same: numbers equal as far as the coarser one is written."""
    told = [
        {name: fields[name] for name in ("concept", "text", "points", "components") if name in fields} for fields in (one, other)
    ]
    mine, theirs = one.get("value"), other.get("value")
    if (mine is None) != (theirs is None) or canonical(told[0]) != canonical(told[1]):
        return False
    if mine is None or theirs is None:
        return True
    return bool(mine["unit"] == theirs["unit"]) and _equal(Decimal(mine["value"]), Decimal(theirs["value"]))


def _equal(one: Decimal, other: Decimal) -> bool:
    exponents = [number.as_tuple().exponent for number in (one, other)]
    coarser = max(exponent for exponent in exponents if isinstance(exponent, int))
    return abs(one - other) <= _AGREE.scaleb(coarser)


def _digits(fields: JsonObject) -> int:
    """How exactly the value is written: significant digits."""
    value = fields.get("value")
    return len(Decimal(value["value"]).as_tuple().digits) if isinstance(value, dict) else 0


def _superseded(tellings: Iterable[Telling]) -> dict[str, list[Telling]]:
    """What documents and tables said that do not count any more, by their names."""
    found: dict[str, list[Telling]] = defaultdict(list)
    for telling in tellings:
        if telling.document.superseded:
            for name in telling.names:
                found[name].append(telling)
    return found


def _result(key: str, fact: _Fact, before: Mapping[str, Sequence[Telling]]) -> DoseResult:
    chosen = fact.tellings[0]
    former = [one for name in fact.names for one in before.get(name, ())]
    former += [one for one in fact.tellings[1:] if one.document.rank is chosen.document.rank is Source.TABLE]
    corrected = any(
        status_of(one.fields, verified=one.document.verified) == "final" and not agree(one.fields, chosen.fields)
        for one in former
    )
    fields = {name: value for name, value in chosen.fields.items() if name not in (LABEL, OF, PLACE)}
    shared, label = chosen.document.shared, str(chosen.fields.get(LABEL, ""))
    remarks = remarks_on(fields, chosen.issues)
    return DoseResult(
        key=key,
        aliases=fact.names,
        kind=chosen.kind,
        label=label,
        fields=fields,
        status=status_of(fields, verified=chosen.document.verified, corrected=corrected),
        administration=chosen.administration,
        document=chosen.document.key,
        study_uids=tuple(sorted({uid for one in fact.tellings if (uid := str(one.document.shared.study.get("uid") or ""))})),
        mapping=shared.mapping,
        issues=(*fact.issues, *remarks),
        sources={
            name[len(label) + 1 :]: f"{shared.mapping}: {path}"
            for name, path in sorted(shared.sources.items())
            if label and name.startswith(f"{label}.")
        },
    )


def _document(told: Told, linker: Linker, withheld: Sequence[Issue]) -> Document:
    return Document(
        key=told.key,
        fields=told.fields,
        study_uid=str(told.shared.study.get("uid") or ""),
        mapping=told.shared.mapping,
        administrations=linker.of_record(told.shared) if told.stands else (),
        superseded=told.superseded,
        issues=(*told.issues, *dict.fromkeys(withheld)),
    )
