"""The definition of the language and its compiler accept the same words: neither can drift from the other."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from gateway.mapping import (
    codes,
    conditions,
    definition,
    dicom_section,
    field_words,
    file_shape,
    lint_tests,
    matching,
    results,
    sources,
    sr_paths,
    template,
)
from gateway.mapping import compile as compiler
from tests.unit.mapping_files import complaints


@pytest.mark.parametrize(
    ("defined", "accepted"),
    [
        (definition.names(definition.SECTIONS), file_shape.SECTIONS),
        (definition.names(definition.MATCH_KEYS), matching.WORDS),
        (definition.names(definition.FIELD_KEYS), {*field_words.FIELD_KEYS, *field_words.LIST_KEYS}),
        (definition.names(definition.SOURCE_FORMS), {"path", "frame", "meta", "arrival", "when", *sr_paths.KEYS}),
        (definition.ARRIVALS, sources.ARRIVAL),
        (definition.names(definition.CONDITION_KEYS), {"of", *conditions.OPERATORS, *conditions.COMBINED}),
        (definition.names(definition.DICOM_KEYS), dicom_section._SECTION_KEYS),
        (definition.names(definition.ACTION_KEYS), dicom_section._KEYS),
        (definition.names(definition.RESOURCE_KEYS), (*compiler._RESOURCE_KEYS, *compiler._OPTIONAL_KEYS)),
        (definition.names(definition.RESULT_KEYS), results.RESULT_KEYS),
        (definition.PER, compiler.PER),
        ({*definition.names(definition.TEMPLATE_VERBS)} - {"${path}", "is", "@name", "$${"}, template._VERBS),
        (definition.names(definition.TEST_KEYS), lint_tests._TEST_KEYS),
        (definition.names(definition.EXPECT_KEYS), lint_tests._EXPECT_KEYS),
        (definition.OUTCOMES, lint_tests.OUTCOMES),
        (definition.names(definition.ENTRY_KEYS), codes._ENTRY_KEYS),
        (definition.names(definition.SCHEME_KEYS), codes._SCHEME_KEYS),
    ],
)
def test_definition_and_compiler_accept_the_same_keys(defined: Collection[str], accepted: Collection[str]) -> None:
    assert set(defined) == set(accepted)


@pytest.mark.parametrize("key", [key for key in definition.CONDITION_KEYS if key.example], ids=lambda key: key.name)
def test_every_example_of_a_condition_compiles(tmp_path: Path, key: definition.Key) -> None:
    text = f"match: everything\nfields:\n  study.x: {{from: StudyID, as: text, when: {key.example}}}\n"
    assert complaints(tmp_path, a=text) == []


@pytest.mark.parametrize("key", [key for key in definition.SOURCE_FORMS if key.example], ids=lambda key: key.name)
def test_every_example_of_a_source_compiles(tmp_path: Path, key: definition.Key) -> None:
    assert complaints(tmp_path, a=f"match: everything\nfields:\n  instance.x: {{from: {key.example}, as: text}}\n") == []
