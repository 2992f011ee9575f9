"""Whatever stands in a file: facts, or one clear refusal. Nothing else may come out of reading a table."""

from __future__ import annotations

import io
from zoneinfo import ZoneInfo

import openpyxl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import Rejected
from gateway.mapping.codes import load_codes
from gateway.model import JsonObject
from gateway.nuclear.results import KINDS, MEMBERS
from gateway.tables.library import Adapters, load_adapters
from gateway.tables.records import record_of
from gateway.tables.selftest import table_of
from tests.conftest import ROOT

ZONE = ZoneInfo("Europe/Brussels")
ADAPTERS = load_adapters(ROOT / "mappings", load_codes(ROOT / "mappings" / "codes")[0])
GOOD = [
    (adapter.name, str(test.given).encode(adapter.read.encodings[0]))
    for adapter in ADAPTERS
    for test in adapter.tests
    if adapter.read.format != "xlsx"
]
LIMITS = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
NUMBER = st.one_of(st.none(), st.integers(), st.floats(allow_nan=False), st.booleans())
CELL = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["7,2", "7.200", "1E+99", "NaN", "-1", "[1, 2]", "[np.float64(3)]", "02/06/2025", "Kidney", "L", "=1+1", '"', "\x00"]
    ),
)
TOP = {name.partition(".")[0].removesuffix("[]") for name in MEMBERS} | {"label"}


def read(content: bytes, name: str, adapters: Adapters = ADAPTERS) -> None:
    try:
        understood = adapters.read(content, "a.csv", ZONE, adapter=name)
    except Rejected as error:
        if error.status not in (413, 415, 422):
            raise
        return
    for part in understood.parts:
        for result in part.results:
            _is_a_fact(result)
        assert record_of(part, understood.adapter, "0" * 64, "2026-01-01T00:00:00+00:00").key


def _is_a_fact(result: JsonObject) -> None:
    assert result["kind"] in KINDS
    assert set(result) <= TOP
    value = result.get("value")
    if value is not None:
        assert value["value"] >= 0
        assert value["unit"] in KINDS[result["kind"]].units or not KINDS[result["kind"]].units


@LIMITS
@given(
    which=st.sampled_from(GOOD), places=st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=4)), min_size=1, max_size=6)
)
def test_a_good_file_with_other_bytes_in_it(which: tuple[str, bytes], places: list[tuple[int, bytes]]) -> None:
    name, content = which
    for at, piece in places:
        at %= len(content) + 1
        content = content[:at] + piece + content[at + 1 :]
    read(content, name)


@LIMITS
@given(which=st.sampled_from(GOOD), cells=st.lists(CELL, min_size=1, max_size=8), at=st.integers(0, 500))
def test_a_good_file_with_other_cells_in_it(which: tuple[str, bytes], cells: list[str], at: int) -> None:
    name, content = which
    rule = ADAPTERS.named(name).read
    delimiter = {"whitespace": " "}.get(rule.delimiter, rule.delimiter)
    lines = [line.split(delimiter) for line in content.decode(rule.encodings[0]).split("\n")]
    for step, cell in enumerate(cells):
        line = lines[(at + step) % len(lines)]
        line[(at * 7 + step) % len(line)] = cell
    read("\n".join(delimiter.join(line) for line in lines).encode(rule.encodings[0], "replace"), name)


@LIMITS
@given(content=st.binary(max_size=300), name=st.sampled_from([adapter.name for adapter in ADAPTERS]))
def test_any_bytes(content: bytes, name: str) -> None:
    read(content, name)


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.lists(st.one_of(NUMBER, CELL), max_size=8), max_size=6))
def test_any_workbook(rows: list[list[object]]) -> None:
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Samples")
    sheet.append(["PatientID", "GivenAt", "Nuclide", "Given_MBq", "Sample", "T_h", "Activity_kBq_mL"])
    for row in rows:
        sheet.append([value if not isinstance(value, str) else "".join(c for c in value if c.isprintable()) for value in row])
    kept = io.BytesIO()
    book.save(kept)
    read(kept.getvalue(), "example_urine_csv")


def test_a_workbook_with_any_byte_changed() -> None:
    adapter = ADAPTERS.named("example_urine_csv")
    content = table_of(adapter, adapter.tests[0].given)
    for at in range(0, len(content), max(1, len(content) // 60)):
        read(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :], adapter.name)


def test_a_long_table_is_read() -> None:
    row = b"%d\t1.5\n"
    content = b"time[minutes]\twhole-blood[kBq/cc]\n" + b"".join(row % number for number in range(5_000))
    read(content, "pmod_blood")
