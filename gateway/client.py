"""A table of an Isobridge as a pandas DataFrame, in one call. Needs ``pip install 'isobridge[tables]'``.

from gateway.client import query
table = query("administrations", where="date=ge2026-01-01")
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from importlib import import_module
from json import loads
from typing import Any
from urllib.parse import parse_qsl, quote

import requests

from gateway.errors import Misconfigured, Rejected, Retryable

BASE = "http://127.0.0.1:8080/fhir"
#: FHIR type of a column -> the pandas type that can be absent.
_DTYPES = {"decimal": "Float64", "integer": "Int64", "positiveInt": "Int64", "unsignedInt": "Int64", "boolean": "boolean"}


def views(base: str = BASE, *, token: str | None = None, timeout_secs: float = 60) -> dict[str, str]:
    """The tables there are: name and what a row of it is."""
    bundle = _get(f"{base}/ViewDefinition", {}, token, timeout_secs).json()
    return {entry["resource"]["name"]: entry["resource"]["description"] for entry in bundle["entry"]}


def query(
    view: str,
    base: str = BASE,
    *,
    where: str | Mapping[str, str] = "",
    group: str | None = None,
    limit: int | None = None,
    token: str | None = None,
    exact: bool = False,
    timeout_secs: float = 600,
) -> Any:
    """A pandas DataFrame with one row per fact; units stand in columns of their own.

    ``where`` is a FHIR search on the view's resource type, ``group`` a cohort, ``token`` a bearer token. Numbers are floats; with
    ``exact`` they are ``Decimal``, digit by digit as published. Raises :class:`Rejected` with the server's own words, and
    :class:`Misconfigured` where pandas is not installed.
    """
    pandas = _pandas()
    address = f"{base.rstrip('/')}/ViewDefinition/{quote(view, safe='')}"
    definition = _get(address, {}, token, timeout_secs).json()
    parameters = dict(where) if isinstance(where, Mapping) else parse_qsl(where, keep_blank_values=True)
    own = {name: str(value) for name, value in (("group", group), ("_limit", limit)) if value is not None}
    asked = [*(parameters.items() if isinstance(parameters, dict) else parameters), *own.items(), ("_format", "ndjson")]
    answer = _get(f"{address}/$run", asked, token, timeout_secs)
    rows = [loads(line, parse_float=Decimal if exact else float) for line in answer.text.splitlines() if line]
    types = {column["name"]: column.get("type", "string") for column in _columns(definition["select"])}
    table = pandas.DataFrame(rows, columns=list(types))
    dtypes = {name: dtype for name, kind in types.items() if (dtype := _DTYPES.get(kind)) and not (exact and kind == "decimal")}
    return table.astype(dtypes)


def _pandas() -> Any:
    try:
        return import_module("pandas")
    except ModuleNotFoundError as error:
        raise Misconfigured("a table needs pandas, which is not installed: pip install 'isobridge[tables]'") from error


def _columns(selects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for item in selects:
        found += [column for column in item.get("column", ()) if not column.get("collection")]
        found += _columns(item.get("select", []))
        found += _columns(item.get("unionAll", [])[:1])
    return found


def _get(address: str, parameters: Any, token: str | None, timeout_secs: float) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = requests.get(address, params=parameters, headers=headers, timeout=timeout_secs)
    except (requests.ConnectionError, requests.Timeout) as error:
        raise Retryable(f"{address} does not answer ({type(error).__name__})") from error
    if answer.status_code != requests.codes.ok:
        raise Rejected(_reason(answer), status=answer.status_code)
    answer.encoding = "utf-8"
    return answer


def _reason(answer: requests.Response) -> str:
    try:
        return str(answer.json()["issue"][0]["diagnostics"])
    except (ValueError, KeyError, IndexError, TypeError):
        return f"HTTP {answer.status_code}"
