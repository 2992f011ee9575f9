"""The results of one file, explained: each member, the place it was read from, the rule in force, the FHIR elements that it fills."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gateway.dicom.elements import Element
from gateway.dicom.items import Item, Root
from gateway.dicom.values import Invalid
from gateway.mapping.rules import FieldRule, Mapping, ResultRule
from gateway.mapping.sources import ITEM, REPEATED, FieldRef, ItemPath, Source, plain
from gateway.model import Json, JsonObject, Record
from gateway.normalise.record import Reading, SiteContext
from gateway.nuclear.results import LABEL, OF
from gateway.workbench.source_words import words as words_of

#: member, value, places (path, words), rule, line of the rule
Member = tuple[str, Json, list[tuple[str, str]], FieldRule | None, str]


def result_labels(record: Record) -> dict[str, JsonObject]:
    """Each result of a record by the name that its issues and sources use."""
    return {str(one[LABEL]): one for one in record.shared.results if LABEL in one}


class ResultReader:
    """Reads the results of a file once more, to tell what stands at each place."""

    def __init__(self, root: Root, mapping: Mapping, record: Record, context: SiteContext, items: tuple[Item, ...]) -> None:
        self._root, self._mapping, self._record, self._context, self._items = root, mapping, record, context, items

    def members(self) -> Iterator[tuple[str, Member]]:
        """Every member that a result has, by the label of the result."""
        rules = {rule.name: rule for rule in self._mapping.results}
        for label, result in result_labels(self._record).items():
            name = label.removeprefix("results.").partition("[")[0]
            rule = rules.get(name)
            if rule is None:
                continue
            reading = self._reading(rule, label, result)
            for one in rule.fields:
                member = one.name.partition(".")[2]
                value = _value(result, member)
                places = [(path, words) for path, words in self._places(one, reading)]
                if value is not None or any(words for _, words in places):
                    yield label, (member, value, places, one, one.where)
            for member, value in rule.fixed.items():
                yield label, (member, value, [], None, rule.where)

    def _reading(self, rule: ResultRule, label: str, result: JsonObject) -> Reading:
        """A reading that stands where the result was read: at its administration, at its item."""
        number = result.get(OF)
        items = {REPEATED: self._items[number]} if isinstance(number, int) and number < len(self._items) else {}
        reading = Reading(self._root, self._context, items, shared=self._record.shared)
        of_rule = [one for one in result_labels(self._record).items() if one[0].partition("[")[0] == f"results.{rule.name}"]
        before = [one for name, one in of_rule if one.get(OF) == number]
        index = next((place for place, one in enumerate(before) if one is result), 0)
        found = next((element for source in rule.sources if (element := _items_at(reading, source))), None)
        if found is not None and index < len(found.items):
            reading = Reading(self._root, self._context, {**items, ITEM: found.items[index]}, shared=self._record.shared)
        return reading

    def _places(self, rule: FieldRule, reading: Reading) -> Iterator[tuple[str, str]]:
        for source in dict.fromkeys(source for part in rule.sources.values() for source in part):
            bare = plain(source)
            if isinstance(bare, FieldRef):
                value = reading.value(bare.name)
                yield bare.name, "" if value is None else str(value)
                continue
            found = _read(reading.items_at if rule.items else reading.element, source)
            path = getattr(bare, "path", None)
            shown = path.text if path is not None else getattr(bare, "name", "")
            words = found if isinstance(found, str) else words_of(found) if found else ""
            yield (f"${shown}" if isinstance(bare, ItemPath) and shown.startswith(ITEM) else shown), words


def _items_at(reading: Reading, source: Source) -> Element | None:
    try:
        return reading.items_at(source)
    except Invalid:
        return None


def _read(look: Callable[[Source], Element | None], source: Source) -> Element | str | None:
    try:
        return look(source)
    except Invalid as error:
        return f"(unreadable: it {error})"


def _value(result: JsonObject, member: str) -> Json:
    value: Json = result
    for key in member.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value
