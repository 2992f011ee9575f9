"""Promises of tables: the shipped views over what the gateway makes of real objects, by command, by address, on both databases."""

from __future__ import annotations

import csv
import io
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.routing import Mount

from gateway import config
from gateway.cli import main
from gateway.client import query
from gateway.config import Settings
from gateway.errors import Misconfigured, Rejected
from gateway.r4.validate import validate
from gateway.store import FhirStore
from gateway.understanding import understanding
from gateway.views.definition import read_view
from gateway.views.run import run_view, shipped_names, shipped_view
from gateway.web import listen, views
from gateway.web.fhir import fhir_routes
from gateway.web.views import RUNS_AT_ONCE
from gateway.workbench.convert import convert
from gateway.workbench.sample import generate_sample
from tests.conftest import ROOT
from tests.fhir_samples import transaction

TIMEOUT_SECS = 20
NM = "http://isobridge.org/fhir/CodeSystem/nm-dosimetry"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
UCUM = "http://unitsofmeasure.org"
IMAGES = "http://127.0.0.1:8080/dicom-web"


def quantity(value: str, unit: str) -> dict[str, Any]:
    return {"value": Decimal(value), "unit": unit, "system": UCUM, "code": unit}


def fact(logical_id: str, code: dict[str, str], study: str, **more: Any) -> dict[str, Any]:
    """An Observation of the shape that the mappings of dosimetry make."""
    return {
        "resourceType": "Observation",
        "id": logical_id,
        "status": "preliminary",
        "code": {"coding": [code], "text": "Fact"},
        "subject": {"reference": "Patient/p"},
        "bodySite": {"coding": [{"system": "http://snomed.info/sct", "code": "64033007"}], "text": "Kidney"},
        "derivedFrom": [{"reference": f"ImagingStudy/{study}"}],
        **more,
    }


def points(kind: str, *values: tuple[int, str]) -> list[dict[str, Any]]:
    offset = "http://hl7.org/fhir/StructureDefinition/observation-timeOffset"
    return [
        {
            "extension": [{"url": offset, "valueInteger": at}],
            "code": {"coding": [{"system": NM, "code": kind}]},
            "valueQuantity": quantity(value, "MBq"),
        }
        for at, value in values
    ]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    directory = tmp_path_factory.mktemp("sample")
    generate_sample(directory, slices=4)
    settings = config.load(None, environment={}, overrides=()).settings
    return list(convert([directory], understanding(settings), recorded="2026-11-23T10:00:00Z").bundles)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def store(request: pytest.FixtureRequest, tmp_path: Path, bundles: list[Any]) -> Iterator[FhirStore]:
    sqlite = request.param == "sqlite"
    url: str = f"sqlite:///{tmp_path / 'store.db'}" if sqlite else request.getfixturevalue("postgres_url")
    opened = FhirStore(url)
    for bundle in bundles:
        opened.transact(bundle)
    study = opened.search("ImagingStudy", []).entries[0].stored.id
    dose = fact("dose", {"system": NM, "code": "organ-absorbed-dose"}, study, valueQuantity=quantity("1.50", "Gy"))
    withheld = fact("withheld", {"system": NM, "code": "bed"}, study, note=[{"text": "no unit"}, {"text": "twice"}])
    withheld["dataAbsentReason"] = {"coding": [{"code": "unknown"}]}
    curve = fact("curve", {"system": NM, "code": "time-activity-curve"}, study)
    curve["component"] = points("activity-in-voi", (3_600_000, "12.10"), (86_400_000, "3.00"))
    suv = fact("suv", {"system": DCM, "code": "126401"}, study, valueQuantity=quantity("2.30", "g/ml{SUVbw}"))
    opened.transact(transaction(dose, withheld, curve, suv))
    yield opened
    opened.close()


def rows(store: FhirStore, name: str, *where: tuple[str, str], **more: Any) -> list[dict[str, Any]]:
    view = shipped_view(name)
    assert view is not None
    return list(run_view(store, view, where, images_at=IMAGES, **more))


def test_an_administration_is_a_row_with_unit_flags_and_images(store: FhirStore) -> None:
    (row,) = rows(store, "administrations")
    study = rows(store, "studies")[0]
    assert (row["activity"], row["activity_unit"], row["radionuclide"]) == (Decimal("394.2"), "MBq", "F-18")
    assert (row["half_life"], row["half_life_unit"]) == (Decimal("6586.2"), "s")
    assert (row["status"], row["repaired"], row["absent_reason"]) == ("preliminary", False, None)
    assert row["study_key"] == study["study_key"]
    assert row["wado_url"] == study["wado_url"] == f"{IMAGES}/studies/{study['study_uid']}"
    assert study["instance_count"] == 9
    assert sum(item["instance_count"] for item in rows(store, "series")) == 9
    assert {item["modality"] for item in rows(store, "series")} == {"CT", "PT", "SR"}


def test_dosimetry_is_a_row_for_each_fact_and_each_point(store: FhirStore) -> None:
    dose, withheld = rows(store, "organ_doses", ("_id", "dose,withheld"))  # beside those of the sample's own report
    assert (str(dose["value"]), dose["value_unit"], dose["kind"], dose["region"]) == (
        "1.50",
        "Gy",
        "organ-absorbed-dose",
        "Kidney",
    )
    assert (withheld["value"], withheld["value_unit"], withheld["absent_reason"]) == (None, None, "unknown")
    assert withheld["note"] == "no unit; twice"
    found = [(row["offset_ms"], str(row["value"]), row["quantity"], row["region"]) for row in rows(store, "time_activity_points")]
    assert found == [(3_600_000, "12.10", "activity-in-voi", "Kidney"), (86_400_000, "3.00", "activity-in-voi", "Kidney")]
    (suv,) = rows(store, "suv_measurements")
    assert (str(suv["value"]), suv["value_unit"], suv["measure"]) == ("2.30", "g/ml{SUVbw}", "126401")


def test_a_search_narrows_a_table_and_is_never_ignored(store: FhirStore) -> None:
    assert rows(store, "administrations", ("date", "lt2000")) == []
    assert len(rows(store, "organ_doses", ("_id", "dose"))) == 1
    with pytest.raises(Rejected) as refused:
        rows(store, "organ_doses", ("nonsense", "1"))
    assert refused.value.status == 400
    with pytest.raises(Rejected):
        rows(store, "organ_doses", group="nobody")


@pytest.fixture
def base(store: FhirStore, tmp_path: Path) -> Iterator[str]:
    settings = replace(Settings(), data=replace(Settings().data, directory=tmp_path))
    listener = socket.create_server(("127.0.0.1", 0))
    app = Starlette(routes=[Mount("/fhir", routes=fhir_routes(store, settings))])
    server = listen.server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/fhir"
    server.should_exit = True
    thread.join(TIMEOUT_SECS)
    listener.close()


def test_few_tables_are_made_at_once(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slow(*_: object, **__: object) -> Iterator[dict[str, object]]:
        begun.release()
        assert go_on.wait(TIMEOUT_SECS)
        yield from ()

    monkeypatch.setattr(views, "run_view", slow)
    address = f"{base}/ViewDefinition/studies/$run"
    with ThreadPoolExecutor(RUNS_AT_ONCE) as pool:
        asked = [pool.submit(requests.get, address, timeout=TIMEOUT_SECS) for _ in range(RUNS_AT_ONCE)]
        for _ in asked:
            assert begun.acquire(timeout=TIMEOUT_SECS)
        refused = requests.get(address, timeout=TIMEOUT_SECS)
        assert (refused.status_code, refused.json()["issue"][0]["code"]) == (429, "throttled")
        assert int(refused.headers["retry-after"]) > 0
        assert requests.get(f"{base}/Patient", timeout=TIMEOUT_SECS).status_code == 200
        go_on.set()
        assert {one.result().status_code for one in asked} == {200}
    assert [requests.get(f"{address}{wrong}", timeout=TIMEOUT_SECS).status_code for wrong in ["?_limit=x"] * 9] == [400] * 9
    with requests.get(address, timeout=TIMEOUT_SECS) as again:
        assert again.status_code == 200


def test_a_view_is_run_by_its_address(base: str, store: FhirStore) -> None:
    def get(path: str, **headers: str) -> requests.Response:
        return requests.get(f"{base}/ViewDefinition{path}", headers=headers, timeout=TIMEOUT_SECS)

    plain = get("/organ_doses/$run?_id=dose")
    assert plain.headers["content-type"] == "application/x-ndjson"
    assert '"value":1.50,' in plain.text
    assert json.loads(plain.text)["wado_url"].startswith(IMAGES)
    table = list(csv.DictReader(io.StringIO(get("/organ_doses/$run?_id=dose,withheld&_format=csv").text)))
    assert [(row["value"], row["value_unit"]) for row in table] == [("1.50", "Gy"), ("", "")]
    assert get("/organ_doses/$run", Accept="text/csv").headers["content-type"].startswith("text/csv")
    assert len(get("/time_activity_points/$run?_format=json&_limit=1").json()) == 1
    assert [entry["resource"]["name"] for entry in get("").json()["entry"]] == shipped_names()
    assert get("/studies").json()["resource"] == "ImagingStudy"
    for path, status in (
        ("/nobody/$run", 404),
        ("/..%2fstudies/$run", 404),
        ("/studies/$run?nonsense=1", 400),
        ("/studies/$run?_count=1", 400),
        ("/studies/$run?status=", 400),
        ("/studies/$run?_format=xlsx", 406),
        ("/studies/$run?_limit=-1", 400),
        ("/studies/$run?group=nobody", 404),
    ):
        answer = get(path)
        assert (answer.status_code, validate(answer.json())) == (status, []), path


def test_the_command_writes_a_table(store: FhirStore, tmp_path: Path) -> None:
    if not (tmp_path / "store.db").exists():
        return  # the command is the same on the other database, whose address it would print
    own = ["--set", f"data.directory={tmp_path}"]
    out = tmp_path / "doses.csv"
    done = CliRunner().invoke(main, ["export", "--view", "organ_doses", "--where", "_id=dose", "--out", str(out), *own])
    assert done.exit_code == 0, done.output
    assert [row["value"] for row in csv.DictReader(out.open())] == ["1.50"]
    mine = tmp_path / "mine.json"
    column = {"name": "given", "path": "code.text"}
    mine.write_text(json.dumps({"resourceType": "ViewDefinition", "resource": "Observation", "select": [{"column": [column]}]}))
    words = [sys.executable, "-m", "gateway.cli", "export", "--view", str(mine), "--format", "ndjson", *own]
    told = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    assert '{"given":"Fact"}' in told.splitlines()
    for wrong in (["--view", "nobody"], ["--view", "studies", "--format", "parquet"], ["--view", "studies", "--where", "x"]):
        assert CliRunner().invoke(main, ["export", *wrong, *own]).exit_code == 2


def test_a_cell_is_never_a_formula() -> None:
    view = read_view(
        {"resource": "Patient", "select": [{"column": [{"name": "a", "path": "id"}, {"name": "b", "path": "active"}]}]}
    )
    from gateway.views.formats import as_csv

    text = b"".join(as_csv(view.columns, [{"a": "=1+1", "b": True}, {"a": Decimal("-1.50"), "b": None}])).decode()
    assert text.splitlines() == ["a,b", "'=1+1,true", "-1.50,"]


NAMED = {"name": "u", "path": "url"}
NESTED = {"forEach": "name", "column": [{"name": "m", "path": "%rowIndex"}]}
INNER = {"forEachOrNull": "extension", "column": [{"name": "v", "path": "value.ofType(integer)"}]}
SELECTS = [
    ({"forEach": "name", "column": [{"name": "f", "path": "family"}]}, [{"id": "p", "f": "A"}, {"id": "p", "f": "B"}]),
    ({"forEach": "contact", "column": [{"name": "f", "path": "id"}]}, []),
    ({"forEachOrNull": "contact", "column": [{"name": "f", "path": "id"}]}, [{"id": "p", "f": None}]),
    (
        {"forEachOrNull": "contact", "column": [{"name": "n", "path": "%rowIndex"}], "select": [NESTED]},
        [{"id": "p", "n": 0, "m": None}],
    ),
    (
        {"repeat": ["extension"], "column": [{"name": "u", "path": "url"}, {"name": "n", "path": "%rowIndex"}]},
        [{"id": "p", "u": u, "n": n} for n, u in enumerate(("a", "a1", "a2", "a21", "b"))],
    ),
    (
        {
            "repeat": ["extension.where(url = 'a')", "extension.extension.where(url = 'a2')"],
            "select": [{"column": [NAMED]}, INNER],
        },
        [{"id": "p", "u": "a", "v": None}] * 2 + [{"id": "p", "u": "a2", "v": 1}],
    ),
    ({"repeat": ["contact"], "column": [{"name": "u", "path": "id"}]}, []),
    (
        {"forEach": "name", "column": [{"name": "n", "path": "%rowIndex"}], "select": [{"forEach": "given", "column": []}]},
        [{"id": "p", "n": 0}, {"id": "p", "n": 0}, {"id": "p", "n": 1}],
    ),
    (
        {
            "unionAll": [
                {"forEach": "name", "column": [{"name": "v", "path": "family"}]},
                {"forEach": "identifier", "column": [{"name": "v", "path": "value"}]},
            ]
        },
        [{"id": "p", "v": "A"}, {"id": "p", "v": "B"}, {"id": "p", "v": "H"}],
    ),
    ({"column": [{"name": "g", "path": "name.given", "collection": True}]}, [{"id": "p", "g": ["x", "y", "z"]}]),
    ({"column": [{"name": "c", "path": "%unit"}]}, [{"id": "p", "c": "MBq"}]),
]


@pytest.mark.parametrize(("select", "expected"), SELECTS)
def test_selects_multiply_as_the_specification_says(select: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    patient = {
        "resourceType": "Patient",
        "id": "p",
        "extension": [
            {"url": "a", "extension": [{"url": "a1"}, {"url": "a2", "extension": [{"url": "a21", "valueInteger": 1}]}]},
            {"url": "b"},
        ],
        "identifier": [{"value": "H"}],
        "name": [{"family": "A", "given": ["x", "y"]}, {"family": "B", "given": ["z"]}],
    }
    key = {"column": [{"name": "id", "path": "getResourceKey()"}]}
    tree = {"resource": "Patient", "constant": [{"name": "unit", "valueString": "MBq"}], "select": [key, select]}
    view = read_view(tree)
    assert view.rows(patient) == expected
    assert read_view({**tree, "where": [{"path": "name.count() > 5"}]}).rows(patient) == []
    assert view.rows({**patient, "resourceType": "Device"}) == []


@pytest.mark.parametrize(
    "tree",
    [
        [],
        {},
        {"resource": "Nonsense", "select": []},
        {"resource": "Patient", "select": [{"column": [{"name": "a b", "path": "id"}]}]},
        {"resource": "Patient", "select": [{"column": [{"name": "a", "path": "id"}, {"name": "a", "path": "id"}]}]},
        {"resource": "Patient", "select": [{"repeat": "contact", "column": []}]},
        {"resource": "Patient", "select": [{"repeat": ["contact"], "forEach": "name", "column": []}]},
        {"resource": "Patient", "select": [{"forEach": "name", "forEachOrNull": "name"}]},
        {"resource": "Patient", "select": [{"unionAll": [{"column": [{"name": "a", "path": "id"}]}, {"column": []}]}]},
        {"resource": "Patient", "select": [{"column": [{"name": "a", "path": "nonsense("}]}]},
        {"resource": "Patient", "constant": [{"name": "a"}], "select": []},
    ],
)
def test_a_definition_that_cannot_be_done_is_refused(tree: Any) -> None:
    with pytest.raises(Rejected) as refused:
        read_view(tree)
    assert refused.value.status == 400


def test_a_condition_that_is_neither_true_nor_false_is_an_error() -> None:
    tree = {"resource": "Patient", "select": [{"column": [{"name": "g", "path": "id"}]}], "where": [{"path": "name.family"}]}
    with pytest.raises(Rejected, match="true or false"):
        read_view(tree).rows({"resourceType": "Patient", "name": [{"family": "a"}]})
    assert read_view(tree).rows({"resourceType": "Patient"}) == []


def test_a_repeat_that_never_ends_is_stopped() -> None:
    view = read_view({"resource": "Patient", "select": [{"repeat": ["$this"], "column": [{"name": "g", "path": "id"}]}]})
    with pytest.raises(Rejected, match="repeat goes deeper"):
        view.rows({"resourceType": "Patient", "id": "p"})


def test_several_values_in_one_cell_are_an_error_and_not_a_choice() -> None:
    view = read_view({"resource": "Patient", "select": [{"column": [{"name": "g", "path": "name.given"}]}]})
    with pytest.raises(Rejected, match="column g has several values"):
        view.rows({"resourceType": "Patient", "name": [{"given": ["a", "b"]}]})


CLIENT = """
import json, sys
from decimal import Decimal
from pathlib import Path
import pandas
from gateway.client import query, views
from gateway.errors import Misconfigured, Rejected
from gateway.r4.canonical import decode
from gateway.views.definition import read_view
from gateway.views.formats import write_parquet
base, notebook, out = sys.argv[1:]
table = query('organ_doses', base, where={'_id': 'dose'})
empty = query('suv_measurements', base, where='_id=nobody')
try:
    query('organ_doses', base, where='nonsense=1')
    refused = None
except Rejected as error:
    refused = error.status
view = read_view(decode(query.__globals__['_get'](f'{base}/ViewDefinition/organ_doses', {}, None, 20).content))
rows = query('organ_doses', base, exact=True).astype(object)
rows = rows.where(rows.notna(), None).to_dict('records')
written = write_parquet(Path(out), view.columns, rows)
back = pandas.read_parquet(out)
space = {}
for cell in json.loads(Path(notebook).read_text())['cells']:
    if cell['cell_type'] == 'code':
        exec(''.join(cell['source']).replace('http://127.0.0.1:8080/fhir', base), space)
print(json.dumps({
    'views': sorted(views(base)), 'value': table['value'].tolist(), 'dtype': str(table['value'].dtype),
    'unit': table['value_unit'].tolist(),
    'empty': [len(empty), str(empty['value'].dtype)], 'refused': refused, 'written': written,
    'parquet': [Decimal('1.50') in back['value'].tolist(), sorted(set(back['value_unit'].dropna())), str(back['repaired'].dtype)],
    'median': space['by_tracer']['median'].tolist(), 'instances': int(space['joined']['instance_count'].sum()),
    'exact': str(space['exact'].sum()),
}))
"""


@pytest.mark.needs("tables")
def test_the_client_the_notebook_and_parquet(base: str, tmp_path: Path) -> None:
    python = ROOT / ".peers" / "tables" / "bin" / "python"
    notebook = ROOT / "docs" / "notebooks" / "administrations.ipynb"
    done = subprocess.run(
        [python, "-c", CLIENT, base, notebook, tmp_path / "doses.parquet"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "views": shipped_names(),
        "value": [1.5],
        "dtype": "Float64",
        "unit": ["Gy"],
        "empty": [0, "Float64"],
        "refused": 400,
        "written": 5,  # the two of this file and the three organs of the sample's own report
        "parquet": [True, ["Gy"], "bool"],
        "median": [394.2],
        "instances": 9,
        "exact": "394.2",
    }


def test_without_pandas_the_call_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(Misconfigured, match=r"pip install 'isobridge\[tables\]'"):
        query("administrations", "http://127.0.0.1:1/fhir")
