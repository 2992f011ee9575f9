"""Writes rows as CSV, NDJSON or Parquet, a few at a time. Numbers are written as they stand: ``1.50`` stays ``1.50``."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from gateway.errors import Misconfigured, Rejected
from gateway.r4.canonical import encode
from gateway.views.definition import Column, Row

MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson", "json": "application/json"}
_ROWS_AT_ONCE = 2000
#: Digits before and after the point that Parquet readers understand (decimal128).
_DIGITS, _DECIMALS = 38, 18


def as_csv(columns: Sequence[Column], rows: Iterable[Row]) -> Iterator[bytes]:
    """RFC 4180 with a header. A list is written as JSON; a cell that a spreadsheet would run as a formula begins with an apostrophe."""
    names = [column.name for column in columns]
    yield _lines([names])
    for part in parts(rows):
        yield _lines([[_cell(row[name]) for name in names] for row in part])


def as_ndjson(_columns: Sequence[Column], rows: Iterable[Row]) -> Iterator[bytes]:
    """One JSON object a line; what is absent is null, so that every row has every column."""
    for part in parts(rows):
        yield b"".join(encode(row) + b"\n" for row in part)


def as_json(_columns: Sequence[Column], rows: Iterable[Row]) -> Iterator[bytes]:
    """One JSON array."""
    yield b"["
    first = True
    for part in parts(rows):
        body = b",".join(encode(row) for row in part)
        yield body if first else b"," + body
        first = False
    yield b"]\n"


WRITERS: Mapping[str, Callable[[Sequence[Column], Iterable[Row]], Iterator[bytes]]] = {
    "csv": as_csv,
    "ndjson": as_ndjson,
    "json": as_json,
}


def write_parquet(path: Path, columns: Sequence[Column], rows: Iterable[Row]) -> int:
    """Write a Parquet file and give the number of rows. Decimals are decimal128(38, 18), never floats.

    Raises :class:`Misconfigured` without pyarrow, :class:`Rejected` for a number that such a column cannot hold exactly.
    """
    try:
        arrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError as error:
        raise Misconfigured("--format parquet needs pyarrow: pip install 'isobridge[tables]'") from error
    schema = arrow.schema([_field(arrow, column) for column in columns])
    written = 0
    with parquet.ParquetWriter(path, schema) as writer:
        for part in parts(rows):
            arrays = [_array(arrow, field, [row[field.name] for row in part]) for field in schema]
            writer.write_batch(arrow.RecordBatch.from_arrays(arrays, schema=schema))
            written += len(part)
    return written


def _field(arrow: Any, column: Column) -> Any:
    kinds = {
        "decimal": arrow.decimal128(_DIGITS, _DECIMALS),
        "integer": arrow.int64(),
        "positiveInt": arrow.int64(),
        "unsignedInt": arrow.int64(),
        "boolean": arrow.bool_(),
    }
    kind = kinds.get(column.type, arrow.string())
    meta = {"description": column.description} if column.description else None
    return arrow.field(column.name, arrow.list_(kind) if column.collection else kind, metadata=meta)


def _array(arrow: Any, field: Any, values: list[Any]) -> Any:
    try:
        return arrow.array([_plain(value) for value in values], type=field.type)
    except (arrow.ArrowInvalid, arrow.ArrowTypeError) as error:
        reason = f"column {field.name}: a value is not a {field.type}; use ndjson or csv"
        raise Rejected(reason, status=422) from error


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return encode(value).decode()
    return Decimal(value) if isinstance(value, float) else value


def parts(rows: Iterable[Row]) -> Iterator[list[Row]]:
    source = iter(rows)
    while part := list(islice(source, _ROWS_AT_ONCE)):
        yield part


def _lines(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return encode(value).decode()
    text = format(value, "f") if isinstance(value, Decimal) and value == 0 else str(value)
    return f"'{text}" if isinstance(value, str) and text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
