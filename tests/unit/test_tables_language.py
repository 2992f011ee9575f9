"""The adapter language: mistakes with their line, the shipped adapters with their tests, real exports, the numbers of one kidney."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway import yamlfile
from gateway.errors import Misconfigured, Rejected
from gateway.mapping.codes import Codes, load_codes
from gateway.mapping.complaints import Complaint
from gateway.nuclear import dosimetry
from gateway.tables.compile import compile_adapter
from gateway.tables.library import Adapters, examine_adapters, load_adapters
from gateway.tables.records import record_of
from gateway.tables.selftest import run_adapter_tests
from tests.conftest import ROOT, data_directory

ZONE = ZoneInfo("Europe/Brussels")
SMALL = """title: Small
match: {columns: [Organ, Dose]}
read: {format: csv, delimiter: ";", decimal: ","}
results:
  dose: {kind: organ-absorbed-dose, region: {column: Organ}, value: {column: Dose, unit: Gy}}
tests:
  - {name: one, given: "Organ;Dose", expect: {parts: 1}}
"""


@pytest.fixture(scope="module")
def codes() -> Codes:
    return load_codes(ROOT / "mappings" / "codes")[0]


@pytest.fixture(scope="module")
def shipped(codes: Codes) -> Adapters:
    return load_adapters(ROOT / "mappings", codes)


def complaints_of(text: str, codes: Codes) -> list[str]:
    complaints: list[Complaint] = []
    compile_adapter("small", yamlfile.parse(text, name="small.yaml"), codes, complaints)
    return [str(complaint) for complaint in complaints]


def test_a_small_adapter_has_nothing_wrong(codes: Codes) -> None:
    assert complaints_of(SMALL, codes) == []


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("title: Small\n", "", "1:1: 'title' is missing"),
        ("results:", "result:", "unknown section 'result' (did you mean 'results'?)"),
        ("format: csv", "format: cvs", "(did you mean 'csv'?)"),
        ('delimiter: ";", ', "", "a CSV file needs its 'delimiter'"),
        ('decimal: ","', 'decimal: ";"', "'decimal' is '.' or ','"),
        ('decimal: ","', 'decimal: ",", thousands: ","', "one sign cannot separate"),
        ('decimal: ","', "timezone: Europe/Brusels", "the name of a zone"),
        ("kind: organ-absorbed-dose", "kind: organ-dose", "did you mean"),
        ("unit: Gy", "unit: mGyy", "'mGyy' is no unit that is known here (did you mean 'mGy'?)"),
        ("unit: Gy", "unit: MBq", "'value' is not measured in MBq"),
        ("region: {column: Organ}, ", "", "needs a 'region'"),
        ("region: {column: Organ}", "region: {column: Organ, codes: organ}", "no code table 'organ' (did you mean 'organs'?)"),
        ("region: {column: Organ}", "regoin: {column: Organ}", "there is no member 'regoin' (did you mean 'region'?)"),
        ("region: {column: Organ}", "region: Liver", "say where it stands: {column: NAME}"),
        ("region: {column: Organ}", "region: {column: Organ, value: Liver}", "a value has one source"),
        ("region: {column: Organ}", 'region: {column: Organ, pattern: "a(b)(c)"}', "exactly one group"),
        ("region: {column: Organ}", 'region: {column: Organ, pattern: "(?=a)"}', "not a regular expression of RE2"),
        (
            "region: {column: Organ}",
            "region: {column: Organ}, intent: {value: perhaps}",
            "'intent' is one of predicted, verified",
        ),
        ("region: {column: Organ}", "region: {column: Organ}, at: {column: T}", "a date needs its 'format'"),
        ("region: {column: Organ}", 'region: {column: Organ}, at: {column: T, format: "%d/%m/%Y %H:%M"}', "needs 'timezone'"),
        ("region: {column: Organ}", 'region: {column: Organ}, at: {column: T, format: "%x"}', "a format of dates holds"),
        ("tests:", "checks: [{check: ratio, of: dose, over: administration.activity}]\ntests:", "the check 'ratio' needs 'is'"),
        ("tests:", "checks: [{check: ratios}]\ntests:", "(did you mean 'ratio'?)"),
        ("tests:", "checks: [{check: eqd2, is: dose, bed: bad, alpha_beta: dose}]\ntests:", "there is no result 'bad'"),
        ("tests:", "status: {approvers: [7]}\ntests:", "a list of names"),
        ("tests:", "administration: {create: true}\ntests:", "needs 'started_at' and 'activity'"),
        ("expect: {parts: 1}", "expect: {}", "a test that expects nothing proves nothing"),
        ("title: Small\n", "title: Small\nunverified: true\n", "name its file 'example_....yaml'"),
        ("match: {columns: [Organ, Dose]}", "match: {}", "say which files this adapter is for"),
    ],
)
def test_a_mistake_is_told_with_its_line(right: str, wrong: str, complaint: str, codes: Codes) -> None:
    assert right in SMALL
    found = complaints_of(SMALL.replace(right, wrong), codes)
    assert any(complaint in text for text in found), found
    assert all(text.startswith("small.yaml:") for text in found)


def test_an_adapter_has_no_way_to_calculate(codes: Codes) -> None:
    """No value is an expression: what looks like one is the name of a column that is not there."""
    text = SMALL.replace("{column: Dose, unit: Gy}", '{column: "Dose * 1000", unit: Gy}')
    assert complaints_of(text, codes) == []
    complaints: list[Complaint] = []
    adapter = compile_adapter("small", yamlfile.parse(text, name="small.yaml"), codes, complaints)
    assert adapter is not None
    with pytest.raises(Rejected, match="finds no fact"):
        Adapters(adapters=(adapter,), codes=codes).read(b"Organ;Dose\nLiver;1\n", "a.csv", ZONE)


def test_the_version_covers_what_decides_and_nothing_else(codes: Codes) -> None:
    def version(text: str) -> str:
        adapter = compile_adapter("small", yamlfile.parse(text, name="small.yaml"), codes, [])
        assert adapter is not None
        return adapter.version

    same = version(SMALL)
    assert version("# a comment\n" + SMALL.replace("name: one", "name: first")) == same
    assert version(SMALL.replace("unit: Gy", "unit: mGy")) != same


def test_every_shipped_adapter_is_green(shipped: Adapters) -> None:
    results = run_adapter_tests(shipped)
    assert len(results) >= 31
    assert [(result.adapter, result.name, result.reasons) for result in results if not result.ok] == []


def test_what_nobody_verified_is_an_example(shipped: Adapters) -> None:
    assert {adapter.name for adapter in shipped if adapter.unverified} == {
        adapter.name for adapter in shipped if adapter.name.startswith("example_")
    }


def test_a_site_has_the_last_word_and_its_mistakes_are_told(tmp_path: Path, codes: Codes) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "sites" / "tables").mkdir(parents=True)
    (tmp_path / "tables" / "small.yaml").write_text(SMALL)
    (tmp_path / "sites" / "tables" / "small.yaml").write_text(SMALL.replace("title: Small", "title: Ours"))
    adapters, complaints = examine_adapters(tmp_path, codes)
    assert complaints == []
    assert adapters is not None
    assert [adapter.title for adapter in adapters] == ["Ours"]
    (tmp_path / "sites" / "tables" / "broken.yaml").write_text("title: [\n")
    with pytest.raises(Misconfigured, match=r"sites/tables/broken\.yaml:\d+:\d+: not valid YAML"):
        load_adapters(tmp_path, codes)


def test_two_adapters_that_fit_as_well_are_no_choice(codes: Codes, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    for name in ("one", "two"):
        (tmp_path / "tables" / f"{name}.yaml").write_text(SMALL)
    adapters = load_adapters(tmp_path, codes)
    with pytest.raises(Rejected, match="Several adapters read this table: one and two"):
        adapters.read(b"Organ;Dose\nLiver;1\n", "a.csv", ZONE)
    assert adapters.read(b"Organ;Dose\nLiver;1\n", "a.csv", ZONE, adapter="two").adapter.name == "two"
    with pytest.raises(Rejected, match=r"no adapter 'tow' \(did you mean 'two'"):
        adapters.read(b"Organ;Dose\nLiver;1\n", "a.csv", ZONE, adapter="tow")


def test_a_column_whose_unit_nobody_knows_is_rejected_with_its_place(codes: Codes, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "small.yaml").write_text(
        SMALL.replace(", unit: Gy", "").replace("Dose]", "Dose, Mass]").replace("value:", "mass: {column: Mass, unit: g}, value:")
    )
    adapters = load_adapters(tmp_path, codes)
    with pytest.raises(Rejected, match=r"no unit, neither in its header nor in the adapter: .* \(row 2, column Dose\)"):
        adapters.read(b"Organ;Dose;Mass\nLiver;1;1800\n", "a.csv", ZONE)


def test_one_kidney_of_a_lutetium_therapy(shipped: Adapters) -> None:
    """Lu-177, 7,200 MBq, 3.0 % in a kidney of 310 g, 51.0 h: each number follows from those before it, by hand."""
    activity, physical, effective = Decimal(7200), Decimal("159.528"), Decimal("51.0")
    biological = dosimetry.biological_half_life(effective, physical)
    assert biological is not None
    bed = dosimetry.bed(Decimal("4.35564"), Decimal("2.5"), Decimal("2.8"), effective)
    for found, stated in (
        (biological, "74.966"),
        (bed, "4.75059"),
        (dosimetry.eqd2(bed, Decimal("2.5")), "2.63922"),
        (Decimal("15892.73") / activity, "2.20732"),
        (Decimal("4.35564") / activity * 1000, "0.604951"),
    ):
        assert dosimetry.share_apart(found, Decimal(stated)) < Decimal("1e-5")
    adapter = shipped.named("example_lutetium_csv")
    understood = Adapters(adapters=(adapter,), codes=shipped.codes).read(adapter.tests[0].given.encode("cp1252"), "a.csv", ZONE)
    (part,) = understood.parts
    assert {result["kind"] for result in part.results} >= {"organ-absorbed-dose", "bed", "eqd2", "effective-half-life"}
    assert all("remarks" not in result for result in part.results)


def test_a_record_is_the_same_whatever_the_order_of_rows(shipped: Adapters) -> None:
    adapter = shipped.named("example_lutetium_csv")
    alone = Adapters(adapters=(adapter,), codes=shipped.codes)
    lines = adapter.tests[0].given.splitlines()
    told = []
    for order in (lines, [lines[0], *reversed(lines[1:])]):
        (part,) = alone.read("\n".join(order).encode(), "a.csv", ZONE).parts
        record = record_of(part, adapter, "d", "2026-01-01T00:00:00+00:00")
        told.append(
            [{name: value for name, value in result.items() if name not in ("label", "group")} for result in record.results]
        )
    assert told[0] == told[1]


@pytest.mark.needs("data")
@pytest.mark.parametrize(
    ("file", "adapter", "kind", "place", "value"),
    [
        (
            "pytheranostics/expected_df_ad.csv",
            "pytheranostics_dose",
            "organ-absorbed-dose",
            ("kidney", "Right"),
            "2.2888928278245335",
        ),
        (
            "pytheranostics/expected_results.csv",
            "pytheranostics_activity",
            "time-integrated-activity",
            ("Liver", None),
            "56425.334754817464",
        ),
        (
            "pytheranostics/gamma_camera_sensitivities.json",
            "pytheranostics_cameras",
            "calibration-factor",
            (None, None),
            "9.460440544015526",
        ),
        ("olinda/mouse25g.cas", "olinda_case", "time-integrated-activity-coefficient", ("Brain", None), "0.000233"),
    ],
)
def test_real_exports_are_read(
    shipped: Adapters, file: str, adapter: str, kind: str, place: tuple[str | None, str | None], value: str
) -> None:
    path = data_directory() / "dosimetry" / file
    understood = shipped.read(path.read_bytes(), path.name, ZONE)
    assert understood.adapter.name == adapter
    found = [
        result["value"]["value"]
        for part in understood.parts
        for result in part.results
        if result["kind"] == kind
        and (place[0] is None or place[0].lower() in result["region"]["text"].lower())
        and (place[1] is None or result["laterality"]["text"] == place[1])
    ]
    assert Decimal(value) in found


@pytest.mark.needs("data")
def test_a_real_curve_of_blood_has_all_its_points(shipped: Adapters) -> None:
    path = data_directory() / "dosimetry" / "pmod-blood" / "WholeBloodActivity.txt"
    (part,) = shipped.read(path.read_bytes(), path.name, ZONE).parts
    (curve,) = part.results
    rows = [line for line in path.read_text().splitlines()[1:] if line.strip()]
    assert len(curve["points"]) == len(rows)
    last = Decimal(rows[-1].split("\t")[0]) / 60
    assert abs(curve["points"][-1]["time"]["value"] - last) < Decimal("1e-9")


@pytest.mark.needs("data")
@pytest.mark.parametrize(
    "file", ["tables/organ-doselimits-calculator.csv", "svalues/Lu177-Male-Svalues.csv", "svalues/177Lu4.8mmsoft.txt"]
)
def test_tables_that_are_no_facts_about_patients_are_refused(shipped: Adapters, file: str) -> None:
    path = data_directory() / "dosimetry" / file
    with pytest.raises(Rejected, match="No adapter reads this table"):
        shipped.read(path.read_bytes(), path.name, ZONE)


def small(codes: Codes, **replaced: str) -> Adapters:
    text = SMALL
    for old, new in replaced.items():
        text = text.replace(old, new)
    complaints: list[Complaint] = []
    adapter = compile_adapter("small", yamlfile.parse(text, name="small.yaml"), codes, complaints)
    assert adapter is not None, complaints
    return Adapters(adapters=(adapter,), codes=codes)


def test_a_row_with_a_cell_too_many_is_named_and_the_adapter_with_it(codes: Codes) -> None:
    with pytest.raises(Rejected) as told:
        small(codes).read(b"Organ;Dose\nKidney;4,4;0\n", "a.csv", ZONE)
    assert told.value.reason == (
        "The adapter 'small' reads tables with these columns, but not this one: Row 2 has more cells than the header has columns."
    )
    assert told.value.status == 422
    with pytest.raises(Rejected, match="No adapter reads this table"):
        small(codes).read(b"Gland;Dose\nKidney;4,4;0\n", "a.csv", ZONE)


def test_a_number_beyond_belief_is_withheld_unless_the_adapter_says_its_own_range(codes: Codes) -> None:
    table = b"Organ;Dose\nKidney;4,4\nLiver;44000\n"
    (part,) = small(codes).read(table, "a.csv", ZONE).parts
    assert [result["value"]["value"] for result in part.results] == [Decimal("4.4")]
    (issue,) = part.issues
    assert issue.reason.startswith("is beyond belief: what it measures lies between 0 and 10000 Gy; check the unit")
    (believed,) = small(codes, **{"unit: Gy": "unit: Gy, range: [0, 50000]"}).read(table, "a.csv", ZONE).parts
    assert len(believed.results) == 2


def test_rad_and_rem_are_told_in_words_that_help(codes: Codes) -> None:
    with pytest.raises(Rejected, match=r"the absorbed dose is RAD there \(100 RAD are 1 Gy\); say 'unit' in the adapter"):
        small(codes, **{"Dose]": "'D [rad]']", "column: Dose, unit: Gy": "column: 'D [rad]'"}).read(
            b"Organ;D [rad]\nKidney;440\n", "a.csv", ZONE
        )
    (complaint,) = complaints_of(SMALL.replace("unit: Gy", "unit: rem"), codes)
    assert complaint.endswith("the unit is rem, which UCUM does not know; the equivalent dose is REM there (100 REM are 1 Sv)")
    (part,) = small(codes, **{"unit: Gy": "unit: RAD"}).read(b"Organ;Dose\nKidney;440\n", "a.csv", ZONE).parts
    assert part.results[0]["value"] == {"value": Decimal("4.4"), "unit": "Gy"}


WHOLE = {"value: {column: Dose, unit: Gy}": "value: {column: Dose, unit: Gy}, target_definition: {value: whole-organ}"}


def test_a_numbered_lesion_is_a_lesion_of_its_kind_and_no_whole_organ(codes: Codes) -> None:
    table = b"Organ;Dose\nLiver;2,3\nLesion 1;31,4\ntumour_B;28\nMetastasis;12\n"
    (part,) = small(codes, **WHOLE).read(table, "a.csv", ZONE).parts
    assert [
        (
            one["region"]["code"],
            one["region"]["text"],
            (one.get("lesion") or {}).get("label"),
            one["target_definition"],
        )
        for one in part.results
    ] == [
        ("10200004", "Liver", None, "whole-organ"),
        ("52988006", "Lesion 1", "Lesion 1", "lesion"),
        ("108369006", "tumour_B", "tumour_B", "lesion"),
        ("14799000", "Neoplasm, Secondary", None, "lesion"),
    ]
    assert part.issues == []


def test_a_region_that_nobody_knows_is_called_no_whole_organ(codes: Codes) -> None:
    (part,) = small(codes, **WHOLE).read(b"Organ;Dose\nPTV1;2,3\nULI;1\nKidney;1\n", "a.csv", ZONE).parts
    assert [one.get("target_definition") for one in part.results] == [None, "whole-organ", "whole-organ"]
    assert [issue.reason for issue in part.issues] == [
        "is in no entry of codes/organs.yaml: only its words are kept (row 2, column Organ)",
        "is in no entry of codes/organs.yaml, so it is not published as a whole organ; "
        "add it to sites/codes/organs.yaml (row 2, column Organ)",
    ]


def test_what_several_results_read_is_told_once_and_empty_cells_not_at_all(codes: Codes) -> None:
    """A BED that is not there needs no alpha/beta; an organ that nobody knows is one thing to mend, not two."""
    needs = "alpha_beta: {column: AB, unit: Gy, need: must}"
    more = f"\n  bed: {{kind: bed, region: {{column: Organ}}, value: {{column: BED, unit: 'Gy{{BED}}'}}, {needs}}}\n"
    adapters = small(codes, **{"unit: Gy}}\n": "unit: Gy}}" + more, "Organ, Dose]": "Organ, Dose, BED, AB]"})
    table = b"Organ;Dose;BED;AB\nKnee;4,4;;\nKnee;5;6;2,5\nLiver;2;3;\nTotal;;;\n"
    parts = adapters.read(table, "a.csv", ZONE).parts
    assert [issue.reason for part in parts for issue in part.issues] == [
        "is in no entry of codes/organs.yaml: only its words are kept (row 2, column Organ)",
        "is in no entry of codes/organs.yaml: only its words are kept (row 3, column Organ)",
        "is missing",
    ]
    assert [one["kind"] for part in parts for one in part.results] == [
        "organ-absorbed-dose",
        "organ-absorbed-dose",
        "bed",
        "organ-absorbed-dose",
    ]


@pytest.mark.parametrize("dated", [True, False])
def test_a_table_that_does_not_say_when_it_was_made_says_so(codes: Codes, dated: bool) -> None:
    made = "document: {created_at: {value: '2026-03-12', format: '%Y-%m-%d'}}\n" if dated else ""
    adapters = small(codes, **{"title: Small\n": f"title: Small\n{made}"})
    (part,) = adapters.read(b"Organ;Dose\nKidney;4,4\n", "a.csv", ZONE).parts
    document = record_of(part, adapters.named("small"), "d", "2026-05-01T00:00:00+00:00").document
    assert (document["created_at"], document.get("undated")) == (
        ("2026-03-12", None) if dated else ("2026-05-01T00:00:00+00:00", True)
    )
