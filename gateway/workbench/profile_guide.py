"""Writes ``docs/profiles``: one page for each profile, made of its table and of an example that was really rendered.

``python -m gateway.workbench.profile_guide``, or ``make profiles`` together with the definitions.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from gateway.fhir.profiles import PROFILES, VERSION
from gateway.fhir.shape import Part, Profile
from gateway.model import JsonObject
from gateway.nuclear.results import CANONICAL, CODE_SYSTEM, KINDS
from gateway.r4.canonical import encode
from gateway.workbench.profile_examples import examples

FOLDER = Path("docs/profiles")


def pages(mappings: Path) -> dict[str, str]:
    """File name -> page."""
    shown = examples(mappings)
    made = {f"{name}.md": "\n".join(_page(profile, shown[name])) for name, profile in PROFILES.items()}
    return {"README.md": "\n".join(_index()), **made}


def _index() -> Iterator[str]:
    yield "# Profiles of dosimetry"
    yield ""
    yield f"FHIR R4 profiles of Observation for what HL7 leaves out, version {VERSION}, under `{CANONICAL}`."
    yield "They are served by every gateway: `/fhir/StructureDefinition`, `/fhir/CodeSystem`, `/fhir/ValueSet`, `/fhir/ConceptMap`,"
    yield "`/fhir/SearchParameter`, searched by `url`, `name`, `version` and `status`; `/fhir/metadata` names them."
    yield "The JSON stands in `gateway/r4/conformance`."
    yield ""
    yield "A resource names a profile in `meta.profile` only when all that the profile requires is really there: the gateway checks"
    yield "each one as it leaves. So `GET /fhir/Observation?_profile=URL` finds complete facts only. Definitions are differentials;"
    yield "they have no snapshot."
    yield ""
    yield "| Profile | What it is | Unit |"
    yield "|---|---|---|"
    for name, profile in sorted(PROFILES.items()):
        yield f"| [{name}]({name}.md) | {profile.title} | {', '.join(f'`{unit}`' for unit in profile.units) or '-'} |"
    yield ""
    yield "## Kinds of results"
    yield ""
    yield f"Codes of `{CODE_SYSTEM}` that stand in `Observation.code`, beside the official codes where there are any."
    yield ""
    yield "| Kind | Title | Official code | Unit | Profile |"
    yield "|---|---|---|---|---|"
    for kind in sorted(KINDS.values(), key=lambda one: one.name):
        official = ", ".join(f"{system.rpartition('/')[2]} {code}" for system, code in kind.codings)
        units = ", ".join(f"`{unit}`" for unit in kind.units)
        link = f"[{kind.profile}]({kind.profile}.md)" if kind.profile else "-"
        yield f"| `{kind.name}` | {kind.title} | {official or '-'} | {units or '-'} | {link} |"
    yield ""


def _page(profile: Profile, example: JsonObject) -> Iterator[str]:
    yield f"# {profile.title}"
    yield ""
    yield profile.purpose
    yield ""
    yield f"Canonical address: `{profile.url}`, version {VERSION}. Type: Observation."
    yield ""
    codes = " or ".join(f"`{system}\\|{code}`" for system, code in profile.codes)
    yield f"Find all of them: `GET /fhir/Observation?code={profile.codes[0][0]}|{profile.codes[0][1]}`; only complete ones:"
    yield f"`GET /fhir/Observation?_profile={profile.url}`."
    yield ""
    yield "| Element | Count | What |"
    yield "|---|---|---|"
    yield f"| code | 1..1 | {codes} |"
    for element in profile.elements:
        targets = f" ({', '.join(element.targets)})" if element.targets else ""
        yield f"| {element.name} | {element.minimum}..{element.maximum} | {element.short}{targets} |"
    units = f" in {', '.join(f'`{unit}`' for unit in profile.units)}" if profile.units else ""
    yield f"| value[x] | 0..1 | {' or '.join(profile.value)}{units}; without one, dataAbsentReason or components tell |"
    yield ""
    if profile.parts:
        yield "| Component | Code | Count | Value |"
        yield "|---|---|---|---|"
        yield from (_part(part) for part in profile.parts)
        yield ""
    for rule in profile.rules:
        yield f"- Rule `{rule.key}`: {rule.human}. `{rule.expression}`"
    if profile.rules:
        yield ""
    yield "## Example"
    yield ""
    yield "Rendered by the shipped mappings from an invented record."
    yield ""
    yield "```json"
    yield msgspec.json.format(encode(example), indent=2).decode()
    yield "```"
    yield ""


def _part(part: Part) -> str:
    system, code = part.code
    value = f"{part.kind}{', or dataAbsentReason' if part.absent else ''}"
    values = f", of value set `{part.values}`" if part.values else ""
    timed = ", with the time offset from the administration (ms)" if part.timed else ""
    told = f"{part.title}: {value}{values}{timed}"
    return f"| {part.name} | `{system.rpartition('/')[2]}\\|{code}` | {part.minimum}..{'*' if part.many else '1'} | {told} |"


def main(folder: Path = FOLDER, mappings: Path = Path("mappings")) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    made = pages(mappings)
    for path in folder.glob("*.md"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:]))
