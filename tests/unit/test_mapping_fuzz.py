"""Whatever a mapping directory holds, lint answers with complaints, never with a traceback."""

# One case a line, however long: they are read as a table.
# ruff: noqa: E501

from __future__ import annotations

import copy
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import yamlfile
from gateway.mapping.language import examine
from tests.unit.mapping_files import SHIPPED

#: More by hand: ISOBRIDGE_FUZZ=2000 python -m pytest tests/unit/test_mapping_fuzz.py
EXAMPLES = int(os.environ.get("ISOBRIDGE_FUZZ", "40"))
RICH = {
    "match": {"Modality": ["PT", {"regex": "N.*"}], "ImageType[2]": "X*", "private_creator": "GEMS"},
    "priority": 3,
    "shadow": False,
    "let": {"frame": "SharedFunctionalGroupsSequence[0]"},
    "for_each": {"administration": "RadiopharmaceuticalInformationSequence"},
    "fields": {
        "study.uid": {"from": "StudyInstanceUID", "as": "uid", "need": "must"},
        "study.at": {"from": {"date": "StudyDate", "time": ["StudyTime", "SeriesTime"]}, "as": "datetime_of"},
        "study.w": {"from": "PatientWeight", "as": "quantity", "unit": {"in": "kg", "out": "kg"}, "range": [1, 400]},
        "study.p": {"from": {"path": "ProcedureCodeSequence[0]", "when": {"of": "Modality", "in": ["PT"]}}, "as": "concept"},
        "series.s": {"from": {"sr": ["113502 DCM", "113507 DCM"], "attribute": "ObservationDateTime"}, "as": "text"},
        "series.f": {"from": {"frame": "FrameAnatomySequence[0].FrameLaterality"}, "as": "code"},
        "series.t": {"for_each": "ProcedureCodeSequence[*]", "fields": {"n": {"from": "$item.CodeMeaning", "as": "text"}}},
        "administration.a": {
            "from": "$administration.RadionuclideTotalDose",
            "as": "activity",
            "unit": {"in": "Bq", "out": "MBq"},
        },
    },
    "resources": {
        "study": {
            "per": "study",
            "identity": ["${study.uid}"],
            "resourceType": "ImagingStudy",
            "status": "available",
            "subject": {"reference": "@patient"},
            "started": {"if": "study.at", "is": "${study.at}"},
            "series": [{"for_each": "s in series", "uid": "${s.s}", "modality": {"code": "PT"}}],
        }
    },
    "dicom": {"charset": "utf-8", "elements": {"StationName": {"value": "x"}}},
    "example": {"StudyInstanceUID": "1.2", "ProcedureCodeSequence": [{"CodeValue": "1"}]},
    "tests": [
        {"name": "t", "given": {"StudyDate": "20240101"}, "expect": {"fields": {"study.uid": "1.2"}, "absent": ["study.w"]}}
    ],
}
CODES = {name: yamlfile.read(SHIPPED / "codes" / f"{name}.yaml").data for name in ("scheme_systems", "routes", "radionuclides")}
JUNK: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, -1, 10 ** 9, 0.5, "", " ", "x", "*", "$", "$x.y", "@x", "${", "${}", "${a b}", "(", "[", "{regex", "study.uid", "Modality", "a.b.c.d", "study.", ".x", "ImageType[", "ImageType[9999999999999]", "(0009,xx01)[X]", "(9,1)", "é", "x" * 2000, "s in series"]
) | st.sampled_from([[], [[]], {}, [None], [{}], {"": 1}, {"x": None}, {"of": 1}, {"sr": []}, {"sr": [1]}, {"path": []}, {"regex": "("}])  # fmt: skip


def places(node: Any, below: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [below] if below else []
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        found += places(child, (*below, key))
    return found


def planted(tree: Any, place: tuple[Any, ...], junk: Any, rename: bool) -> Any:
    tree = copy.deepcopy(tree)
    above = tree
    for key in place[:-1]:
        above = above[key]
    if rename and isinstance(above, dict):
        above[str(junk)[:50] or "x"] = above.pop(place[-1])
    else:
        above[place[-1]] = junk
    return tree


def examined(mapping: Any, codes: dict[str, Any]) -> int:
    """The number of complaints."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        shutil.copytree(SHIPPED / "codes", directory / "codes")
        for name, table in codes.items():
            (directory / "codes" / f"{name}.yaml").write_text(json.dumps(table, default=float))
        (directory / "a.yaml").write_text(json.dumps(mapping))
        found = examine(directory)
        assert all(str(complaint).count(":") >= 3 for complaint in found.complaints)
        return len(found.complaints)


def test_the_tree_that_is_broken_below_is_good() -> None:
    assert examined(RICH, {}) == 0


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(places(RICH)), JUNK, st.booleans()), min_size=1, max_size=1))
def test_a_mapping_with_anything_anywhere_gets_an_answer(changes: list[tuple[tuple[Any, ...], Any, bool]]) -> None:
    tree: Any = RICH
    for place, junk, rename in changes:
        tree = planted(tree, place, junk, rename)
    examined(tree, {})


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from([(name, place) for name, table in CODES.items() for place in places(table)[:40]]), JUNK, st.booleans())
def test_a_code_table_with_anything_anywhere_gets_an_answer(where: tuple[str, tuple[Any, ...]], junk: Any, rename: bool) -> None:
    name, place = where
    examined(RICH, {name: planted(CODES[name], place, junk, rename)})
