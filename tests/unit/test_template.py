"""FHIR templates: what is absent prunes, what is present keeps its type, a loop makes one entry per item."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest

from gateway.mapping.template import ResourceTemplate, TemplateError, compile_template
from gateway.mapping.traced import leaves

MBQ = {"value": Decimal("388.777472"), "unit": "MBq"}
FDG = {"system": "http://snomed.info/sct", "code": "35321007", "text": "FDG"}


def render(node: Any, **scope: Any) -> Any:
    return compile_template(node).render(scope)


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("${s.number}", 7),  # a hole alone keeps the type
        ("${s.flag}", False),
        ("${s.zero}", 0),
        ("no ${s.number}", "no 7"),  # inside text it becomes text
        ("${s.number}/${s.zero}", "7/0"),
        ("urn:oid:${s.uid}", "urn:oid:1.2.3"),
        ("$${s.uid}", "${s.uid}"),  # written twice: literal
        ("plain", "plain"),
    ],
)
def test_a_hole_is_filled(text: str, rendered: Any) -> None:
    scope = {"number": 7, "zero": 0, "flag": False, "uid": "1.2.3"}
    found = render({"x": text}, s=scope)
    assert found == {"x": rendered}
    assert type(found["x"]) is type(rendered)


@pytest.mark.parametrize("empty", [None, "", [], {}])
def test_what_is_absent_or_empty_prunes_its_element(empty: Any) -> None:
    node = {"kept": "${a}", "gone": "${b}", "text": "urn:${b}", "list": ["${b}"], "deep": {"deeper": {"x": "${b.c}"}}}
    assert render(node, a=1, b=empty) == {"kept": 1}


def test_nothing_left_is_none() -> None:
    assert render({"x": "${a}"}) is None


def test_a_literal_beside_empty_holes_goes_with_them() -> None:
    node = {"id": "${id}", "bodySite": {"system": "http://snomed.info/sct", "code": "${s.code}"}}
    assert render(node, id=1) == {"id": 1}


def test_literals_alone_stay() -> None:
    node = {"id": "${id}", "category": [{"coding": [{"code": "imaging"}]}]}
    assert render(node, id=1) == {"id": 1, "category": [{"coding": [{"code": "imaging"}]}]}


def test_a_component_without_value_goes_with_its_code() -> None:
    node = {
        "id": "${id}",
        "component": [
            {"code": {"coding": [{"code": "1"}]}, "valueQuantity": "${q}"},
            {"code": {"coding": [{"code": "2"}]}, "valueQuantity": "${absent}"},
        ],
    }
    assert len(render(node, id=1, q=MBQ)["component"]) == 1


def test_a_quantity_becomes_fhir_with_its_ucum_code() -> None:
    assert render({"q": "${q}"}, q=MBQ)["q"] == {
        "value": Decimal("388.777472"),
        "unit": "MBq",
        "system": "http://unitsofmeasure.org",
        "code": "MBq",
    }


@pytest.mark.parametrize(
    ("concept", "rendered"),
    [
        (FDG, {"coding": [{"system": "http://snomed.info/sct", "code": "35321007"}], "text": "FDG"}),
        ({"text": "New tracer"}, {"text": "New tracer"}),
        ([FDG, {"text": "x"}], [{"coding": [{"system": FDG["system"], "code": "35321007"}], "text": "FDG"}, {"text": "x"}]),
    ],
)
def test_a_concept_becomes_a_codeable_concept_without_display(concept: Any, rendered: Any) -> None:
    assert render({"c": "${c}"}, c=concept) == {"c": rendered}


def test_a_loop_makes_one_entry_per_item_and_keeps_what_stands_beside_it() -> None:
    node = {"list": ["first", {"for_each": "s in series", "uid": "${s.uid}", "n": "${s.n}"}, "last"]}
    assert render(node, series=[{"uid": "1", "n": 1}, {"uid": "2"}]) == {
        "list": ["first", {"uid": "1", "n": 1}, {"uid": "2"}, "last"]
    }


def test_loops_nest_and_see_what_is_around_them() -> None:
    instance = {"for_each": "i in s.instances", "text": "${study.uid} ${s.uid} ${i.uid}"}
    node = {"series": [{"for_each": "s in series", "uid": "${s.uid}", "instance": [instance]}]}
    scope = {"study": {"uid": "S"}, "series": [{"uid": "A", "instances": [{"uid": "1"}, {"uid": "2"}]}, {"uid": "B"}]}
    assert render(node, **scope) == {
        "series": [{"uid": "A", "instance": [{"text": "S A 1"}, {"text": "S A 2"}]}, {"uid": "B"}],
    }


def test_a_reference_is_looked_up_in_the_innermost_loop_first() -> None:
    node = {
        "subject": {"reference": "@patient"},
        "gone": {"reference": "@nobody"},
        "series": [{"for_each": "s in series", "actor": {"reference": "@device"}, "subject": {"reference": "@patient"}}],
    }
    scope = {"series": [{"refs": {"device": "Device/1"}}, {}], "refs": {"patient": "Patient/p", "device": "Device/0"}}
    assert render(node, **scope) == {
        "subject": {"reference": "Patient/p"},
        "series": [
            {"actor": {"reference": "Device/1"}, "subject": {"reference": "Patient/p"}},
            {"actor": {"reference": "Device/0"}, "subject": {"reference": "Patient/p"}},
        ],
    }


def test_conditions_keep_an_object_only_when_they_hold() -> None:
    node = {
        "id": "${id}",
        "tag": [{"if": "a.repaired", "code": "repaired"}],
        "dataAbsentReason": {"unless": "a.activity", "coding": [{"code": "unknown"}]},
    }
    assert render(node, id=1, a={"repaired": True, "activity": MBQ}) == {"id": 1, "tag": [{"code": "repaired"}]}
    assert render(node, id=1, a={}) == {"id": 1, "dataAbsentReason": {"coding": [{"code": "unknown"}]}}


def test_a_condition_on_several_paths_asks_whether_one_has_a_value() -> None:
    node = {"id": "${id}", "tag": [{"if": ["a.one", "a.two"], "code": "any"}, {"unless": ["a.one", "a.two"], "code": "none"}]}
    assert render(node, id=1, a={"two": True}) == {"id": 1, "tag": [{"code": "any"}]}
    assert render(node, id=1, a={"one": True, "two": True}) == {"id": 1, "tag": [{"code": "any"}]}
    assert render(node, id=1, a={}) == {"id": 1, "tag": [{"code": "none"}]}


@pytest.mark.parametrize("paths", [[], ["a", 1], {"a": "b"}])
def test_a_condition_is_a_path_or_a_list_of_paths(paths: object) -> None:
    with pytest.raises(TemplateError, match="path of a value"):
        compile_template({"if": paths, "code": "any"})


def test_a_conditional_value_stands_there_only_when_its_condition_holds() -> None:
    node = {"at": {"unless": "s.end", "is": "${s.start}"}, "period": {"if": "s.end", "start": "${s.start}", "end": "${s.end}"}}
    assert render(node, s={"start": "2026"}) == {"at": "2026"}
    assert render(node, s={"start": "2026", "end": "2027"}) == {"period": {"start": "2026", "end": "2027"}}
    assert render(node, s={}) is None


@pytest.mark.parametrize("node", [{"is": "${s.x}"}, {"if": "s.x", "is": "${s.x}", "more": "y"}])
def test_a_conditional_value_stands_alone_with_its_condition(node: Any) -> None:
    with pytest.raises(TemplateError, match="'is' stands alone"):
        compile_template({"x": node})


def test_a_list_in_a_hole_stays_a_list() -> None:
    assert render({"given": "${n.given}"}, n={"given": ["An", "Maria"]}) == {"given": ["An", "Maria"]}


@pytest.mark.parametrize(
    ("node", "place"),
    [
        ({"a": {"b": "${x y}"}}, ("a", "b")),
        ({"a": {"b": "${x"}}, ("a", "b")),
        ({"a": ["${__import__('os')}"]}, ("a", 0)),
        ({"a": {"for_each": "x in y"}}, ("a", "for_each")),
        ({"a": [{"for_each": "x y"}]}, ("a", 0, "for_each")),
        ({"a": [{"for_each": "x in y", "b": [{"for_each": "x in z", "c": "${x}"}]}]}, ("a", 0, "b", 0, "for_each")),
        ({"a": {"if": 1, "b": 1}}, ("a", "if")),
    ],
)
def test_a_mistake_is_told_with_its_place(node: Any, place: tuple[str | int, ...]) -> None:
    with pytest.raises(TemplateError) as caught:
        compile_template(node)
    assert caught.value.place == place


def test_what_a_template_reads_is_known_before_it_is_filled() -> None:
    node = {"a": [{"for_each": "s in series", "b": "${s.uid}", "c": "@device", "d": [{"for_each": "i in s.x", "e": "${i.y}"}]}]}
    template = compile_template(node)
    assert [path for _, path in template.paths] == ["series", "series[].uid", "series[].x", "series[].x[].y"]
    assert [name for _, name in template.references] == ["device"]


def test_an_identity_without_any_part_means_no_resource() -> None:
    parts = tuple(compile_template(text) for text in ("${a.code}", "${a.text}", "tracer"))
    template = ResourceTemplate(
        name="medication", per="administration", identity=parts, body=compile_template({}), resource_type="Medication"
    )
    assert template.identify({"a": {"text": "FDG"}}) == ("", "FDG", "tracer")
    assert template.identify({"a": {}}) is None


def test_a_study_of_a_thousand_instances_renders_in_milliseconds() -> None:
    instance = {"for_each": "i in s.instances", "uid": "${i.uid}", "number": "${i.number}", "title": "${i.title}"}
    instance["sopClass"] = {"system": "urn:ietf:rfc:3986", "code": "urn:oid:${i.sop_class}"}  # type: ignore[assignment]
    template = compile_template({"series": [{"for_each": "s in series", "uid": "${s.uid}", "instance": [instance]}]})
    instances = [{"uid": f"1.2.{n}", "number": n, "title": "A", "sop_class": "1.2"} for n in range(1000)]
    started = time.process_time()
    rendered = template.render({"series": [{"uid": "1", "instances": instances}]})
    spent_s = time.process_time() - started
    assert rendered is not None
    assert len(rendered["series"][0]["instance"]) == 1000
    assert spent_s < 0.1  # about 0.005 s on a quiet machine


def trace(node: Any, **scope: Any) -> dict[str, tuple[str, ...]]:
    """Element -> what it was read from."""
    traced = compile_template(node).trace(scope)
    return {".".join(map(str, one.element)): one.reads for one in traced}


def test_a_trace_tells_exactly_what_was_rendered() -> None:
    node = {
        "status": "final",
        "dose": "${a.activity}",
        "gone": "${a.missing}",
        "series": [
            {"fixed": "first"},
            {
                "for_each": "s in series",
                "uid": "${s.uid}",
                "if": "s.uid",
                "instance": [{"for_each": "i in s.instances", "uid": "urn:oid:${i.uid}"}],
            },
        ],
        "subject": {"reference": "@patient"},
    }
    series = [{"uid": None}, {"uid": "1", "instances": [{"uid": "1.1"}, {"uid": "1.2"}]}]
    scope = {"a": {"activity": MBQ}, "series": series, "refs": {"patient": "Patient/7"}}
    assert trace(node, **scope) == {
        "status": (),
        **{f"dose.{part}": ("a.activity",) for part in ("value", "unit", "system", "code")},
        "series.0.fixed": (),
        "series.1.uid": ("series[1].uid",),
        "series.1.instance.0.uid": ("series[1].instances[0].uid",),
        "series.1.instance.1.uid": ("series[1].instances[1].uid",),
        "subject.reference": ("@patient",),
    }
    rendered = compile_template(node).render(scope)
    found = {".".join(map(str, one.element)): one.value for one in compile_template(node).trace(scope)}
    assert rendered is not None
    assert found == {".".join(map(str, place)): value for place, value in leaves(rendered)}


def test_a_trace_names_the_line_and_the_conditions_on_the_way() -> None:
    node = {"period": {"if": "a.end", "start": {"unless": "a.open", "is": "${a.start}"}}}
    (found,) = compile_template(node).trace({"a": {"start": "2024", "end": "2025"}})
    assert (found.line, found.conditions) == (("period", "start", "is"), ("if a.end", "unless a.open"))
    assert compile_template(node).trace({"a": {"start": "2024"}}) == []
