"""Writes docs/mapping-reference.md from the definition of the mapping language, so that the page cannot promise another language.

``make reference`` runs it; a test fails when the page is not what this would write.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from gateway.mapping import definition as language
from gateway.mapping.conversion import Converter
from gateway.mapping.definition import Key
from gateway.mapping.scopes import PROVIDED, SCOPES, gives
from gateway.nuclear import units
from gateway.nuclear.results import KINDS, MEMBERS, WORDS, Link
from gateway.workbench.converter_examples import EXAMPLES

PAGE = Path("docs/mapping-reference.md")

_HEAD = """\
# Mapping reference

Every word of the mapping language. This page is written from the language's own definition (`make reference`); how to write a
mapping from
the beginning stands in the [mapping guide](mapping-guide.md).

## In your editor

```
isobridge mappings schema > mapping.schema.json          # and: schema codes > codes.schema.json, schema table > adapter.schema.json
```

An editor with a YAML language server (VS Code with the extension "YAML" of Red Hat, Neovim, Emacs) then completes and checks while you
type. In VS Code write both files into the folder that you open (the one that holds `mappings`) and this into its `.vscode/settings.json`:

```json
{
  "yaml.schemas": {
    "./mapping.schema.json": ["mappings/*.yaml", "mappings/vendors/*.yaml", "mappings/sites/*.yaml"],
    "./codes.schema.json": ["mappings/codes/*.yaml", "mappings/sites/codes/*.yaml"]
  }
}
```

or, in any editor, this as the first line of a file in `mappings/sites`:

```yaml
# yaml-language-server: $schema=../../mapping.schema.json
```

Without an editor: `check-jsonschema --schemafile mapping.schema.json mappings/sites/*.yaml` (a Python package). The schema looks at one
file alone: it knows words, shapes, keywords and units, not what is inherited, which fields exist, patterns, or FHIR.
`isobridge mappings lint` knows those too, and has the last word.
"""
_YAML = """\
## The files

Plain YAML, UTF-8, at most 1 MiB a file and 32 levels deep. Anchors, aliases, merge keys (`<<`), tags (`!!...`), a key written
twice and tabs are
refused, as are spaces that only look like one and curly quotes around a value. Codes, UIDs and times
belong in quotes: `"35321007"`. A text that begins with `@`, `%`, `*`, `&`, `!` or a bracket needs
quotes, too.
"""
_LINT = """\
## What lint says

`isobridge mappings lint` prints every mistake at once as `file:line:column: what is wrong`, with the nearest right word, and
exits 2. Templates are
checked against FHIR R4: elements, lists, types, required elements and codes, choices, targets of references. Warnings (a short
name or a code
table that nothing reads, a field of your site that nothing publishes,
a private creator that differs by a letter from a known one, an unknown
profile) do not change the exit code. What a field with a mistake of its own would have written is not complained of again.
"""


def page() -> str:
    """The whole page."""
    parts = [
        _HEAD,
        _YAML,
        _section("Sections", "All but `example` and `tests` are inherited, key by key.", _keys(language.SECTIONS)),
        _section(
            "match",
            "A DICOM keyword of the top level, or one of the keys below, with a text, a list of texts or a "
            "pattern. SOP classes by keyword or UID.",
            [*_keys(language.MATCH_KEYS), "", *_forms(language.MATCH_FORMS)],
        ),
        _section("Fields", "`<level>.<name>: {...}`; names are lower case and may be nested.", _keys(language.FIELD_KEYS)),
        _section("unit", f"UCUM codes that are known: {_words(sorted(units.KNOWN))}.", _keys(language.UNIT_KEYS), 3),
        _section("Paths", "", _forms(language.PATH_FORMS), 3),
        _section(
            "Sources",
            "A source is a path, or a mapping with one of these keys; a list of sources is tried in order.",
            _sources(),
            3,
        ),
        _section("Conditions", "What stands behind `when`.", _keys(language.CONDITION_KEYS), 3),
        _section("Converters", _CONVERTERS, list(_converters())),
        _section("Results", _RESULTS, _keys(language.RESULT_KEYS)),
        _section("Kinds", _KINDS_TEXT, _kinds(), 3),
        _section("Members", _MEMBERS_TEXT, _members(), 3),
        _section(
            "Resources",
            "Keys of our own; all others are FHIR's.",
            [*_keys(language.RESOURCE_KEYS), "", *_keys(language.TEMPLATE_VERBS)],
        ),
        _section("What templates can read", _SCOPE, _scopes(), 3),
        _section("dicom", "", [*_keys(language.DICOM_KEYS), "", "Under `elements`, one of:", "", *_keys(language.ACTION_KEYS)]),
        _section("Tests", "", [*_keys(language.TEST_KEYS), "", "`expect`:", "", *_keys(language.EXPECT_KEYS)]),
        _section("Code tables", "`mappings/codes/<name>.yaml`: `entries`, each with", _keys(language.ENTRY_KEYS)),
        _section("codes/scheme_systems.yaml", "", _keys(language.SCHEME_KEYS), 3),
        _LINT,
    ]
    return "\n".join(parts)


_CONVERTERS = (
    "A converter is a named, tested function; the language has no expressions. Beside each stands a field as one writes it."
)
_SCOPE = "A resource `per` one of these reads, besides the fields of the level:"


_RESULTS = "`results`: facts of dosimetry, inherited key by key. [Dosimetry](dosimetry.md) tells what becomes of them."
_KINDS_TEXT = "A value is published in the unit of its kind, so that all of one kind are found by one search."
_MEMBERS_TEXT = (
    "A result has these members and no others. What stands in brackets is the type of FHIR that a converter must give."
)


def _kinds() -> list[str]:
    rows = (
        (
            f"`{kind.name}`",
            kind.title,
            _words(kind.units) or "any",
            {Link.REQUIRED: "required", Link.OPTIONAL: "if told", Link.NEVER: "-"}[kind.administration],
            "required" if kind.region else "-",
            ", ".join(code for _, code in kind.codings) or "-",
        )
        for kind in KINDS.values()
    )
    return _table(("kind", "is", "unit", "administration", "region", "official code"), rows)


def _members() -> list[str]:
    words = {name: f"; one of {_words(sorted(found))}" for name, found in WORDS.items()}
    return [f"- `{name}` ({'texts' if type_ == 'list' else type_}){words.get(name, '')}" for name, type_ in MEMBERS.items()]


def _section(title: str, text: str, lines: Sequence[str], depth: int = 2) -> str:
    head = [f"{'#' * depth} {title}", ""]
    return "\n".join([*head, *([text, ""] if text else []), *lines, ""])


def _keys(keys: tuple[Key, ...]) -> list[str]:
    if not any(key.example or key.required for key in keys):
        return _table(("key", "says"), ((f"`{key.name}`", key.says) for key in keys))
    rows = ((f"`{key.name}`{' (required)' if key.required else ''}", key.says, _code(key.example)) for key in keys)
    return _table(("key", "says", "for example"), rows)


def _forms(keys: tuple[Key, ...]) -> list[str]:
    return _table(("written", "means"), ((_code(key.name), key.says) for key in keys))


def _sources() -> list[str]:
    return [*_keys(language.SOURCE_FORMS), "", f"`arrival` is one of {_words(language.ARRIVALS)}."]


def _scopes() -> list[str]:
    rows = []
    for per, scope in SCOPES.items():
        names = [
            f"{name.replace('[]', '')}.{rest}"
            for name, level in scope.items()
            for rest in PROVIDED[level]
            if not rest.startswith("related.") or rest == "related.organ_absorbed_dose"
        ]
        rows.append((f"`{per}`", _words(name.replace("[]", "") for name in scope), _words(names)))
    return _table(("per", "levels", "and, from rendering"), rows)


def _converters() -> Iterable[str]:
    for converter in language.converters().values():
        yield f"### {converter.name}"
        yield ""
        yield language.says(converter)
        yield ""
        yield from _table(("parts", "codes", "unit", "gives"), [_facts(converter)])
        yield ""
        example = EXAMPLES.get(converter.name)
        if example:
            yield from ("```yaml", example.field, "```", "")
            if example.comes_out:
                yield f"{example.given} comes out as {example.comes_out}."
                yield ""


def _facts(converter: Converter) -> tuple[str, ...]:
    parts = [
        f"`{name}`{' (a field)' if is_field else ''}{'' if required else ', optional'}"
        for name, (is_field, required) in language.part_kinds(converter).items()
    ]
    alone = list(converter.parts) == ["value"]
    codes = {True: "required", False: "-", None: "may"}[converter.takes_codes]
    hole = gives(converter.name, converter.result)
    kind = f"{'a list of ' if hole.many else ''}{hole.type or 'see above'}"
    return ("one source" if alone else "; ".join(parts), codes, "required" if converter.takes_unit else "-", kind)


def _words(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`" if text else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def main(path: Path = PAGE) -> None:
    """Write the page."""
    path.write_text(page())


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
