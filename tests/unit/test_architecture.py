"""The import rule: a module imports only from layers before its own, or from its own package."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

GATEWAY = Path(__file__).resolve().parents[2] / "gateway"

LAYERS = [
    ["model", "errors", "yaml_hints"],
    ["client"],
    ["yamlfile", "named_settings", "dicom_settings", "scopes"],
    ["target_settings", "folder_settings", "source_settings", "sender_settings", "client_settings"],
    ["config", "telemetry", "database"],
    ["dicom", "r4"],
    ["nuclear"],
    ["mapping", "spool", "store", "access", "audit"],
    ["tables"],
    ["receive", "normalise", "gather", "fhir", "publish", "views"],
    ["understanding", "keep", "backfill"],
    ["in_force", "outgoing", "table_door"],
    ["line"],
    ["contents"],
    ["pipeline"],
    ["workbench"],
    ["lanes"],
    ["workers", "web"],
    ["roles"],
    ["daemon"],
    ["cli_keep"],
    ["cli_audit", "cli_backfill", "cli_dicom", "cli_export", "cli_spool", "cli_study"],
    ["cli_deploy", "cli_dose", "cli_tables"],
    ["cli_mappings"],
    ["cli"],
]
RANK = {name: number for number, names in enumerate(LAYERS) for name in names}
MODULES = sorted(path for path in GATEWAY.rglob("*.py") if path != GATEWAY / "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(GATEWAY).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """First names below ``gateway`` that a module imports anywhere, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[1] for alias in node.names if alias.name.startswith("gateway."))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "gateway":
                found.update(alias.name for alias in node.names if alias.name in RANK)
            elif node.module and node.module.startswith("gateway."):
                found.add(node.module.split(".")[1])
    return found


def test_every_room_has_a_layer() -> None:
    assert {room(path) for path in MODULES} <= set(RANK)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(GATEWAY)))
def test_a_module_imports_only_from_earlier_layers(path: Path) -> None:
    own = room(path)
    own_rank = RANK[own]
    wrong = {name for name in imported_rooms(path) if name != own and RANK[name] >= own_rank}
    assert not wrong, f"{path.relative_to(GATEWAY)} must not import {sorted(wrong)}"


#: Where a fault of one item is kept from stopping the others: the worker's loops, and the receiver's associations. The third carries an
#: error from a thread to who waits for it.
CATCH_ALL = {"workers.py", "receive/containment.py", "web/threads.py"}


def test_everything_is_caught_in_three_places_only() -> None:
    for path in MODULES:
        if str(path.relative_to(GATEWAY)) in CATCH_ALL:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "everything"
                assert caught not in ("Exception", "BaseException", "everything"), f"{path}:{node.lineno} catches {caught}"


def test_only_config_reads_the_environment() -> None:
    readers = {room(path) for path in MODULES if "os.environ" in path.read_text() or "getenv" in path.read_text()}
    assert readers <= {"config", "cli"}
