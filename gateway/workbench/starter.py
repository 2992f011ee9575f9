"""A first overlay from a real file: what fits today, what the file holds that no rule reads, and a test that is green as written.

Nothing that tells of a patient is copied: no dates and times, no UIDs, no free text, nothing of group 0010; what is private or unread
is named without its value. The file is proven (lint and test, in a copy of the directory) before it is handed out.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from pathlib import Path

import yaml

from gateway.dicom.items import Item, Root
from gateway.dicom.paths import Path as DicomPath
from gateway.dicom.paths import PathError, parse_path, vr_of
from gateway.dicom.reading import Header, header_of, read_header
from gateway.dicom.values import Invalid
from gateway.errors import Misconfigured
from gateway.mapping.example import WORDS, encode, merged
from gateway.mapping.language import Mapping, Mappings, lint, load
from gateway.mapping.rules import ItemPath, RootPath
from gateway.mapping.sr_example import is_sr
from gateway.model import Json, JsonObject
from gateway.normalise.record import SharedCache, normalise
from gateway.workbench.coverage import kind_of
from gateway.workbench.selftest import SITE, run_test
from gateway.workbench.starter_report import report_example
from gateway.workbench.walk import Tag, reads_of, tags_of

#: What tells one scanner from another, in the order in which ``match`` lists it.
_SCANNER = ("Manufacturer", "ManufacturerModelName", "StationName")
#: Words that are fixed by the device or by a code, not typed by a person about a patient.
_SAFE_TEXT = frozenset(
    ["Manufacturer", "ManufacturerModelName", "SoftwareVersions", "CodeValue", "CodingSchemeDesignator", "CodeMeaning",
     "Radiopharmaceutical", "RadiopharmaceuticalRoute", "ReconstructionMethod", "AttenuationCorrectionMethod"]
)  # fmt: skip
_SAFE_VRS = frozenset(["CS", "DS", "IS", "US", "SS", "UL", "FL", "FD"])
_REMOVED = frozenset(["REMOVED", "ANONYMIZED", "ANONYMOUS", "NONE", "UNKNOWN"])
_NAME = "mapping_of_this_scanner"
_EXPECTED = (
    "device.manufacturer",
    "device.model",
    "administration.activity",
    "administration.agent",
    "administration.radionuclide",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    """A mapping file that lints and tests green."""

    name: str
    text: str
    extends: str


def starter(
    path: Path, mappings: Mappings, directory: Path, *, name: str | None = None, read_as: Sequence[tuple[str, str]] = ()
) -> Starter:
    """Write a starter for the scanner that made ``path``. ``read_as``: elements and the field that reads each.

    Raises :class:`~gateway.errors.Quarantined` when the file cannot be read, :class:`Misconfigured` when no overlay can be made of it:
    another one matches the same scanner already, or the name is taken.
    """
    header = read_header(path)
    base = mappings.for_header(header)
    root = Root(header)
    scanner = {keyword: text for keyword in _SCANNER if (text := _text(root, keyword)) and text.upper() not in _REMOVED}
    if not scanner:
        raise Misconfigured(
            f"{path.name}: the file names no manufacturer, model or station; nothing tells its scanner from others"
        )
    called = name or _name_of(scanner)
    if any(mapping.name == called for mapping in mappings):
        raise Misconfigured(f"a mapping named '{called}' exists; give another --name")
    text = ""
    for example in (_example(root, base) | report_example(root, base), _example(root, base), {}):
        text = _written(called, header, base, scanner, example | scanner, read_as)
        problems = _tried(text, called, directory)
        if not problems:
            return Starter(name=called, text=text, extends=base.name)
    raise Misconfigured([f"the starter for {path.name} would not do:", *problems])


def _name_of(scanner: dict[str, str]) -> str:
    words = "_".join(scanner.values()).lower()
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in words)
    return "_".join(part for part in kept.split("_") if part) or _NAME


def _text(root: Root, keyword: str) -> str:
    try:
        found = root.find(parse_path(keyword))
    except Invalid:
        return ""
    return found.text.strip() if found else ""


def _written(
    name: str,
    header: Header,
    base: Mapping,
    scanner: dict[str, str],
    example: JsonObject,
    read_as: Sequence[tuple[str, str]],
) -> str:
    match: JsonObject = dict(scanner)
    if not any(condition.subject == 0x00080016 for condition in base.conditions):
        sop_class = header.raw(0x00080016).decode("ascii", "replace").strip(" \0")
        match |= {"SOPClassUID": sop_class} if sop_class else {}
    expected = _expected(base, example)
    test = {"name": f"an object of {' '.join(scanner.values())} is understood", "given": {}, "expect": {"fields": expected}}
    parts = [
        f"# {name}: what our {' '.join(scanner.values())} does differently ({kind_of(header)}).",
        f"# Everything of '{base.name}' holds; write here only what differs. Then: isobridge mappings lint; isobridge mappings test.",
        f"extends: {base.name}",
        _yaml({"match": match}),
        *_comments(header, base, read_as),
        _yaml({"example": example}),
        _yaml({"tests": [{key: value for key, value in test.items() if value}]}),
    ]
    return "\n".join(
        part.rstrip() + "\n" if "\n" in part.rstrip() or part.startswith(("extends", "match")) else part for part in parts
    )


def _yaml(node: JsonObject) -> str:
    return yaml.dump(node, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)


class _Dumper(yaml.SafeDumper):
    """No aliases, decimals as they are."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _number(dumper: yaml.SafeDumper, value: Decimal) -> yaml.ScalarNode:
    """Digits as written. A whole number is an int to YAML: told to be a float it would be dumped with a tag."""
    text = f"{value:f}"
    return dumper.represent_scalar(f"tag:yaml.org,2002:{'float' if '.' in text else 'int'}", text)


_Dumper.add_representer(Decimal, _number)


def _expected(base: Mapping, example: JsonObject) -> JsonObject:
    """What the base makes of the example today, of a few telling fields; at least that the device is known."""
    laid = {key: value for key, value in {**base.example, **example}.items() if value is not None}
    record = normalise(header_of(encode(merged(laid, {}))), base, SITE, SharedCache(1))
    shared = record.shared
    levels: dict[str, Json] = {"device": shared.device, "administration": (shared.administrations or ({},))[0]}
    found = {}
    for name in _EXPECTED:
        level, _, key = name.partition(".")
        value = levels[level].get(key)
        if value is not None:
            found[name] = value
    return found


def _tried(text: str, name: str, directory: Path) -> list[str]:
    """What lint and test say of it, in a copy of the directory."""
    with tempfile.TemporaryDirectory(prefix="starter-") as folder:
        copy = Path(folder) / "mappings"
        shutil.copytree(directory, copy)
        (copy / "sites").mkdir(exist_ok=True)
        (copy / "sites" / f"{name}.yaml").write_text(text)
        complaints = [str(complaint) for complaint in lint(copy)]
        if complaints:
            return complaints
        mappings = load(copy)
        mapping = mappings.named(name)
        return [f"{test.name}: {reason}" for test in mapping.tests for reason in run_test(mapping, test, mappings).reasons]


def _example(root: Root, base: Mapping) -> JsonObject:
    """The values of this file that a rule reads and that tell nothing of a person, laid over the example of the base.

    What the base's example has and the file lacks is taken away; what tells of a person stays the base's invention.
    """
    example: JsonObject = _lacking(root, base)
    for rule in base.fields:
        for alternatives in rule.sources.values():
            for source in alternatives:
                path = getattr(source, "path", None)
                if isinstance(path, DicomPath) and isinstance(source, RootPath | ItemPath):
                    _take(example, base, root, path, in_item=isinstance(source, ItemPath))
    return example


def _lacking(root: Root, base: Mapping) -> JsonObject:
    """The elements of the base's example that are not in the file, as ``null``; of the repeated item those that are, invented."""
    found: JsonObject = {}
    repeated = base.repeated if isinstance(base.repeated, DicomPath) else None
    for key, value in base.example.items():
        if key in WORDS or is_sr(key):
            continue
        if not _stands(root, key):
            found[key] = None
        elif repeated is not None and key == repeated.text:
            element = root.find(repeated)
            item = element.items[0] if element else None
            found[key] = [{inner: told for inner, told in value[0].items() if item and _stands(item, inner)}] if value else None
    return found


def _stands(place: Root | Item, keyword: str) -> bool:
    """Whether an element is there with a value."""
    path = parse_path(keyword)
    is_sequence = path.steps[-1].creator is None and vr_of(path.steps[-1].tag) == "SQ"
    try:
        return place.find(parse_path(f"{keyword}[0]" if is_sequence else keyword)) is not None
    except (Invalid, PathError):
        return False


def _take(example: JsonObject, base: Mapping, root: Root, path: DicomPath, *, in_item: bool) -> None:
    if in_item and isinstance(base.repeated, DicomPath):
        sequence = base.repeated.text
        try:
            items = root.find(base.repeated)
        except Invalid:
            return
        taken = _safe(items.items[0], path) if items and items.items else None
        if taken:
            held = example.setdefault(sequence, [{}])
            held[0].update(taken)
    elif not in_item:
        example.update(_safe(root, path))


def _safe(place: Root | Item, path: DicomPath) -> JsonObject:
    """One step deep, coded items whole: ``{keyword: value}``, or nothing when it may tell of a person."""
    step = path.steps[0]
    keyword = path.text.partition("[")[0].partition(".")[0]
    if step.creator is not None or step.tag >> 16 == 0x0010:
        return {}
    vr = vr_of(step.tag)
    try:
        found = place.find(parse_path(f"{keyword}[0]" if vr == "SQ" else keyword))
    except (Invalid, PathError):
        return {}
    if found is None:
        return {}
    if vr == "SQ":
        coded: JsonObject = {}
        for name in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning"):
            coded |= _safe(found.items[0], parse_path(name))
        return {keyword: [coded]} if "CodeValue" in coded else {}
    if keyword == "SOPClassUID" or (vr not in _SAFE_VRS and keyword not in _SAFE_TEXT):
        return {}
    return {keyword: found.texts[0] if len(found.texts) == 1 else list(found.texts)}


def _comments(header: Header, base: Mapping, read_as: Sequence[tuple[str, str]]) -> Iterator[str]:
    """What no rule reads: private elements by creator, then standard ones; what is read in vain. Names only, never values."""
    reads = reads_of(base)
    unread = [tag for tag in dict.fromkeys(tags_of(header.dataset)) if not reads.tag(tag.path)]
    private = sorted((tag for tag in unread if tag.creator), key=lambda tag: tag.creator)
    standard = [tag for tag in unread if not tag.creator and tag.name and "ContentSequence" not in tag.path]
    yield "# fields:"
    yield "#   What you read goes here, for example:"
    offered = next((tag for tag in private if tag.top and tag.vr in ("DS", "LO", "SH", "CS", "IS")), None)
    offered_path = offered.path if offered else "(0099,xx01)[OUR PRIVATE GROUP]"
    yield f'#   series.our_value: {{from: "{offered_path}", as: text}}'
    if private:
        yield "#"
        yield "# Private elements of this file that no rule reads, by creator:"
        for creator, tags in groupby(private, key=lambda tag: tag.creator):
            yield f"#   {creator}"
            yield from (f"#     {_line(tag)}" for tag in tags)
    if standard:
        yield "#"
        yield "# Standard elements of this file that no rule reads:"
        yield from (f"#   {_line(tag)}" for tag in standard if tag.top)
    if read_as:
        yield "#"
        yield "# Elements of this file that a rule reads:"
        yield from (f"#   {place}  read as {field}" for place, field in read_as)
    yield ""


def _line(tag: Tag) -> str:
    return f"{tag.path}  {tag.vr}  {tag.name}".rstrip()
