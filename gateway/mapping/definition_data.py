"""The language of what stands beside the rules: tests, and code tables. A part of :mod:`gateway.mapping.definition`."""

from __future__ import annotations

from gateway.mapping.definition_key import Key, Shape

TEST_KEYS = (
    Key("name", Shape.TEXT, "A promise, as a sentence.", required=True),
    Key("given", Shape.GIVEN, "What differs from the example; `null` removes an element."),
    Key(
        "record",
        Shape.RECORD,
        "Instead of an object, for templates that other mappings share: what was read, as `document`, `administrations`, `results`.",
    ),
    Key("expect", Shape.EXPECT, "What must come out.", required=True),
)
EXPECT_KEYS = (
    Key("fields", Shape.ANYTHING, "Field -> value, or a part of it."),
    Key("results", Shape.ANYTHING, "The results in the order in which they are read, or a part of each."),
    Key("resources", Shape.ANYTHING, "Resource -> a part of what it must hold; `{}` in a list stands for any entry."),
    Key("absent", Shape.TEXTS, "Fields that must have no value."),
    Key("issues", Shape.TEXTS, "Parts of `<field> <reason>`; `[]`: there are none."),
    Key(
        "dicom",
        Shape.ANYTHING,
        'Element of the normalised object -> the words that go out; `""`: it is removed; `null`: it stays as it was received.',
    ),
    Key("outcome", Shape.OUTCOME, "`record` or `quarantined`."),
)
OUTCOMES = ("record", "quarantined")

TABLE_KEYS = (Key("entries", Shape.ANYTHING, "Text that is published -> what is known of it.", required=True),)
ENTRY_KEYS = (
    Key("system", Shape.TEXT, "A coding scheme of `codes/scheme_systems.yaml`.", "system: SCT"),
    Key("code", Shape.TEXT, "The code, in quotes.", 'code: "35321007"'),
    Key(
        "aliases",
        Shape.TEXTS,
        "Further writings; case, punctuation and a mention of the nuclide do not matter.",
        "aliases: [FDG]",
    ),
    Key("nuclide", Shape.TEXT, "Agents only: the nuclide that the agent implies.", "nuclide: F-18"),
    Key("laterality", Shape.TEXT, "Organs only: the side of a paired one, an entry of `laterality.yaml`.", "laterality: Left"),
    Key(
        "replaces",
        Shape.NAMES,
        "In a table of your site: the shipped entry, or entries, that this one stands instead of.",
        "replaces: DOTATATE Ga-68",
    ),
    Key("element", Shape.TEXT, "Nuclides only: the name of the chemical element.", "element: Fluorine"),
    Key("half_life_s", Shape.NUMBER, "Nuclides only: the physical half-life in seconds.", "half_life_s: 6586.2"),
    Key(
        "plausible_MBq",
        Shape.RANGE,
        "Nuclides, and agents that are given in a narrower range: lowest and highest activity that is ever administered.",
        "plausible_MBq: [1, 2000]",
    ),
)
SCHEME_KEYS = (
    Key("systems", Shape.ANYTHING, "Coding scheme designator -> FHIR code system.", "systems: {SCT: http://snomed.info/sct}"),
    Key("snomed_rt", Shape.TEXTS, "Designators under which senders write retired SNOMED-RT codes.", "snomed_rt: [SRT]"),
    Key(
        "snomed_rt_extra",
        Shape.ANYTHING,
        "SNOMED-RT code -> SNOMED CT code, beside the table of PS3.16.",
        'snomed_rt_extra: {F-61FDB: "349358000"}',
    ),
)
