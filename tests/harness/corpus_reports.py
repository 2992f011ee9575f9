"""Dose reports (Radiopharmaceutical Radiation Dose SR, PS3.16 TID 10021) whose trees, numbers or units are wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial

from pydicom.dataset import Dataset

from tests.harness.corpus import TAKEN, Case, encoded, report
from tests.harness.corpus_content import raw

RRDSR = "1.2.840.10008.5.1.4.1.1.88.68"


def cases() -> Iterator[Case]:
    """A Radiopharmaceutical Radiation Dose SR (PS3.16 TID 10021) that is not what it says."""
    changes: dict[str, Callable[[Dataset], object]] = {
        "no content": lambda ds: ds.__delattr__("ContentSequence"),
        "empty content": lambda ds: ds.__setattr__("ContentSequence", []),
        "no concept names": lambda ds: _dropped(_all(ds), "ConceptNameCodeSequence"),
        "no value types": lambda ds: _dropped(_all(ds), "ValueType"),
        "unknown value types": lambda ds: _put(_all(ds), "ValueType", "POEM"),
        "no relationship types": lambda ds: _dropped(_all(ds), "RelationshipType"),
        "every number NaN": lambda ds: _numbers(ds, b"NaN"),
        "every number negative": lambda ds: _numbers(ds, b"-1"),
        "every number 1e999": lambda ds: _numbers(ds, b"1e999"),
        "every number empty": lambda ds: _numbers(ds, b""),
        "every number twice": lambda ds: _numbers(ds, b"1\\2"),
        "every number with a comma": lambda ds: _numbers(ds, b"3,5"),
        "no measured values": lambda ds: _dropped(_all(ds), "MeasuredValueSequence"),
        "empty measured values": lambda ds: _put([one for one in _all(ds) if "MeasuredValueSequence" in one], "MeasuredValueSequence", []),
        "no units": lambda ds: _dropped(_measured(ds), "MeasurementUnitsCodeSequence"),
        "unknown units": lambda ds: _put([one.MeasurementUnitsCodeSequence[0] for one in _measured(ds)], "CodeValue", "furlong"),
        "every item repeated": lambda ds: ds.__setattr__("ContentSequence", [*ds.ContentSequence, *ds.ContentSequence]),
        "items in items, 30 deep": lambda ds: _deeper(ds, 14),
        "points to itself": lambda ds: ds.ContentSequence.append(_reference([1])),
        "points to what is not there": lambda ds: ds.ContentSequence.append(_reference([1, 99, 4294967295])),
        "points round and round": lambda ds: [ds.ContentSequence.append(_reference([1, 3])), ds.ContentSequence.append(_reference([1, 2]))],
        "1,000 items": lambda ds: ds.ContentSequence.extend([ds.ContentSequence[0]] * 1000),
        "another template": lambda ds: ds.__setattr__("ContentTemplateSequence", [_template("99999")]),
        "title unknown": lambda ds: ds.ConceptNameCodeSequence[0].__setattr__("CodeValue", "000000"),
        "root is a number": lambda ds: ds.__setattr__("ValueType", "NUM"),
        "dates impossible": lambda ds: [raw(one, "DateTime", b"20250230250000") for one in _all(ds) if "DateTime" in one],
        "UIDs illegal": lambda ds: [raw(one, "UID", b"../../x") for one in _all(ds) if "UID" in one],
    }  # fmt: skip
    for name, change in changes.items():
        withheld = "administration.activity" if name in _NO_ACTIVITY else ""
        yield Case(
            name=f"report/{name}",
            build=partial(_spoilt_report, change),
            status=TAKEN,
            announced_class=RRDSR,
            negotiated_class=RRDSR,
            withheld=withheld,
        )


#: What leaves no activity to believe.
_NO_ACTIVITY = (
    "every number NaN", "every number negative", "every number 1e999", "every number empty", "every number twice",
    "every number with a comma", "no measured values", "empty measured values", "no units", "unknown units",
)  # fmt: skip


def _spoilt_report(change: Callable[[Dataset], object]) -> bytes:
    dataset = report()
    change(dataset)
    return encoded(dataset)


def _all(dataset: Dataset) -> list[Dataset]:
    found: list[Dataset] = []
    for one in dataset.get("ContentSequence") or []:
        found += [one, *_all(one)]
    return found


def _measured(dataset: Dataset) -> list[Dataset]:
    return [one.MeasuredValueSequence[0] for one in _all(dataset) if one.get("MeasuredValueSequence")]


def _numbers(dataset: Dataset, value: bytes) -> None:
    for one in _measured(dataset):
        raw(one, "NumericValue", value)


def _dropped(places: list[Dataset], keyword: str) -> None:
    for one in places:
        if keyword in one:
            delattr(one, keyword)


def _put(places: list[Dataset], keyword: str, value: object) -> None:
    for one in places:
        setattr(one, keyword, value)


def _deeper(dataset: Dataset, levels: int) -> None:
    for _ in range(levels):
        container = Dataset()
        container.ValueType, container.RelationshipType = "CONTAINER", "CONTAINS"
        container.ConceptNameCodeSequence = [copy.deepcopy(dataset.ConceptNameCodeSequence[0])]
        container.ContentSequence = dataset.ContentSequence
        dataset.ContentSequence = [container]


def _reference(identifier: list[int]) -> Dataset:
    """By reference (PS3.3 C.17.3): a tree that is none."""
    one = Dataset()
    one.RelationshipType = "HAS PROPERTIES"
    one.ReferencedContentItemIdentifier = identifier
    return one


def _template(number: str) -> Dataset:
    one = Dataset()
    one.TemplateIdentifier, one.MappingResource = number, "DCMR"
    return one
