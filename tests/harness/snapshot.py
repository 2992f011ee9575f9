"""A canonical picture of everything a FHIR endpoint holds, so that two stores can be compared.

Left out is what may differ between two honest stores of the same facts: ``meta.lastUpdated``, ``meta.versionId`` and the instant
at which a Provenance was recorded. Everything else, ids included, must be equal.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import requests

from gateway.r4.bundles import references

PAGE = 200

Resource = dict[str, Any]
#: ``Type/id`` -> canonical resource.
Snapshot = dict[str, Resource]


def fetch(fhir_url: str, kinds: Sequence[str] = ()) -> Snapshot:
    """All current resources of these types; of all types that the server's CapabilityStatement names when none is asked for."""
    with requests.Session() as session:
        return {
            f"{resource['resourceType']}/{resource['id']}": canonical(resource)
            for kind in kinds or _types(session, fhir_url)
            for resource in _pages(session, f"{fhir_url}/{kind}?_count={PAGE}")
        }


def canonical(resource: Resource) -> Resource:
    """The resource without what two honest stores may differ in."""
    kept = copy.deepcopy(resource)
    meta = kept.get("meta", {})
    meta.pop("lastUpdated", None)
    meta.pop("versionId", None)
    if not meta:
        kept.pop("meta", None)
    if kept["resourceType"] == "Provenance":
        kept.pop("recorded", None)
    return kept


def differences(left: Snapshot, right: Snapshot) -> list[str]:
    """One line per resource that is missing on a side or differs, naming the elements; empty when equal."""
    lines = [f"only left: {key}" for key in sorted(left.keys() - right.keys())]
    lines += [f"only right: {key}" for key in sorted(right.keys() - left.keys())]
    for key in sorted(left.keys() & right.keys()):
        if left[key] != right[key]:
            names = sorted(name for name in left[key].keys() | right[key].keys() if left[key].get(name) != right[key].get(name))
            lines.append(f"differs: {key}: {', '.join(names)}")
    return lines


def in_use(found: Snapshot) -> Snapshot:
    """Without medications, devices and patients that no fact names any more. A fact that changes on its way leaves them: they are shared
    and never taken back; who saw only the end never had them.
    """
    shared = ("Medication/", "Device/", "Patient/", "Provenance/")
    named = {name for key, resource in found.items() if not key.startswith(shared) for name in references(resource)}
    return {key: resource for key, resource in found.items() if not key.startswith(shared[:3]) or key in named}


def dump(snapshot: Snapshot) -> str:
    """As sorted, indented JSON text."""
    return json.dumps(snapshot, indent=1, sort_keys=True, ensure_ascii=False, default=str) + "\n"


def _types(session: requests.Session, fhir_url: str) -> list[str]:
    """All but the audit trail: who looked is no fact of what there is to see."""
    statement = _get(session, f"{fhir_url}/metadata")
    return sorted(entry["type"] for rest in statement["rest"] for entry in rest["resource"] if entry["type"] != "AuditEvent")


def _pages(session: requests.Session, url: str | None) -> Iterator[Resource]:
    while url is not None:
        bundle = _get(session, url)
        for entry in bundle.get("entry", []):
            if entry.get("search", {}).get("mode", "match") == "match":
                yield entry["resource"]
        url = next((link["url"] for link in bundle.get("link", []) if link["relation"] == "next"), None)


def _get(session: requests.Session, url: str) -> Resource:
    answer = session.get(url, headers={"Accept": "application/fhir+json"}, timeout=60)
    answer.raise_for_status()
    found: Resource = json.loads(answer.text, parse_float=Decimal)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Print what a FHIR endpoint holds, or compare two.")
    parser.add_argument("url", help="for example http://127.0.0.1:8080/fhir")
    parser.add_argument("other", nargs="?", help="a second endpoint: print the differences, exit 1 when there are any")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    snapshot = fetch(chosen.url)
    if chosen.other:
        found = differences(snapshot, fetch(chosen.other))
        print("\n".join(found) or f"equal: {len(snapshot)} resources")
        return 1 if found else 0
    if chosen.out:
        chosen.out.write_text(dump(snapshot), encoding="utf-8")
    else:
        print(dump(snapshot), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
