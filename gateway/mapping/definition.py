"""The mapping language as data: every section, key, form and verb, with one plain sentence each.

The editor's JSON Schema (:mod:`gateway.workbench.mapping_schema`) and the reference page
(:mod:`gateway.workbench.mapping_reference`) are generated from here; the converters come from their registry. A test holds it against what
the compiler accepts, so that neither can drift.
"""

from __future__ import annotations

from gateway.mapping.conversion import Converter, Kind
from gateway.mapping.definition_data import ENTRY_KEYS, EXPECT_KEYS, OUTCOMES, SCHEME_KEYS, TABLE_KEYS, TEST_KEYS
from gateway.mapping.definition_key import Key, Shape
from gateway.mapping.definition_sources import CONDITION_KEYS, PATH_FORMS, SOURCE_FORMS
from gateway.mapping.registry import CONVERTERS
from gateway.mapping.rules import LEVELS, REPEATED, Need
from gateway.mapping.sources import ARRIVAL

SECTIONS = (
    Key(
        "extends",
        Shape.NAMES,
        "Takes over another mapping, or several. A key is taken from the last file of the line that itself wrote it: what is written "
        "here wins over all bases, of bases the later one, and what a base only inherits never wins over what another base wrote. "
        "A field or resource set to `null` is taken away.",
        "extends: pet_image",
    ),
    Key(
        "match",
        Shape.MATCH,
        "For which objects this mapping is. All conditions must fit, those of the bases as well: a condition on the same key narrows. "
        "`everything` fits all; `nothing` makes a base that only others extend.",
        'match: {SOPClassUID: PositronEmissionTomographyImageStorage, Manufacturer: "GE *"}',
        required=True,
    ),
    Key(
        "priority",
        Shape.WHOLE,
        "Decides between mappings that fit the same object: the highest counts; then the deepest lineage, then the most "
        "conditions. 0 unless written.",
        "priority: 10",
    ),
    Key(
        "shadow",
        Shape.FLAG,
        "`true`: objects are mapped and shown, nothing is published until a named person approves it.",
        "shadow: true",
    ),
    Key("let", Shape.LETS, "Short names for paths, used as `$name`.", 'let: {frame: "SharedFunctionalGroupsSequence[0]"}'),
    Key(
        "for_each",
        Shape.FOR_EACH,
        "The sequence, or the container of a report, whose items are administrations: the `administration.*` fields "
        "are read once for each, as `$administration.Keyword`.",
        "for_each: {administration: RadiopharmaceuticalInformationSequence}",
    ),
    Key(
        "fields",
        Shape.FIELDS,
        f"What to read: `<level>.<name>`, with the levels {', '.join(f'`{level}`' for level in LEVELS)}.",
        "fields: {series.pet.units: {from: Units, as: code, need: should}}",
    ),
    Key(
        "results",
        Shape.RESULTS,
        "Facts of dosimetry: each of a kind, read once, or once per item, or once per administration.",
        "results: {dose: {kind: organ-absorbed-dose, of: administration, for_each: {sr: [$administration, 113517 DCM]}, "
        "fields: {value: {from: {sr: [$item, 113518 DCM]}, as: quantity, unit: {out: Gy}}}}}",
    ),
    Key(
        "ignore",
        Shape.IGNORED,
        "Content items of a report that are left unread on purpose, with all below them, and why. Only `coverage` reads it.",
        'ignore: {dose_check: {sr: ["**", 113900 DCM], reason: What the scanner warns of is no dose.}}',
    ),
    Key(
        "resources",
        Shape.RESOURCES,
        "What FHIR to make: literal FHIR R4 with holes `${study.uid}`. One that is written again stands instead of the whole inherited "
        "one: copy that and change the copy.",
        'resources: {patient: {per: patient, identity: ["${patient.key}"], resourceType: Patient, birthDate: "${patient.birth_date}"}}',
    ),
    Key(
        "dicom",
        Shape.DICOM,
        "What the normalised DICOM says differently, for targets with `send: normalised`. The default stays the original, "
        "byte for byte.",
        "dicom: {charset: utf-8, elements: {InstitutionName: {value: Example hospital}}}",
    ),
    Key("example", Shape.GIVEN, "The smallest legal object; the tests give only their difference.", "example: {Modality: PT}"),
    Key(
        "tests",
        Shape.TESTS,
        "What must come out of the example, each with its difference.",
        "tests: [{name: the modality is kept, expect: {fields: {series.modality: PT}}}]",
    ),
)

MATCH_KEYS = (
    Key("manufacturer", Shape.MATCH, "Short for `Manufacturer`."),
    Key("model", Shape.MATCH, "Short for `ManufacturerModelName`."),
    Key("serial", Shape.MATCH, "Short for `DeviceSerialNumber`."),
    Key("station", Shape.MATCH, "Short for `StationName`."),
    Key("software", Shape.MATCH, "Short for `SoftwareVersions`."),
    Key("calling_ae", Shape.MATCH, "The AE title that sent the object."),
    Key("called_ae", Shape.MATCH, "The AE title that was called."),
    Key("private_creator", Shape.MATCH, "Some private creator at the top level has this name."),
)
MATCH_FORMS = (
    Key("Modality: PT", Shape.TEXT, "Whole value, any case; `*` stands for anything. Of several values one must fit."),
    Key("Modality: [PT, NM]", Shape.TEXTS, "One of them."),
    Key(
        'ManufacturerModelName: {regex: "Discovery (MI|IQ).*"}',
        Shape.PATTERN,
        "An RE2 pattern for the whole value: linear time, whatever it says.",
    ),
    Key("ImageType[2]: WHOLE BODY", Shape.TEXT, "One value of several: `[0]` is the first."),
)

FIELD_KEYS = (
    Key(
        "from",
        Shape.FROM,
        "Where the value stands: a source, a list of sources tried in order, or named parts when the converter has parts.",
        required=True,
    ),
    Key("as", Shape.CONVERTER, "The converter.", required=True),
    Key("codes", Shape.TABLE, "The code table, for converters that understand codes."),
    Key("unit", Shape.UNIT, "The unit that senders write and the unit that is published (UCUM); in a report only `out`."),
    Key("need", Shape.NEED, "`must`: without it the object is quarantined; `should`: an issue; `may`, the default: silence."),
    Key(
        "range",
        Shape.RANGE,
        "Lowest and highest number that can be true, in the published unit: outside it the value is withheld and told.",
    ),
    Key("when", Shape.CONDITION, "A condition: without it the field is not read."),
    Key(
        "for_each",
        Shape.SOURCE,
        "A source with several items: the field becomes a list of objects, one for each; goes with `fields`, without "
        "`from` and `as`.",
    ),
    Key("fields", Shape.SUBFIELDS, "The fields of each item; their paths start at `$item`."),
)
RESULT_KEYS = (
    Key("kind", Shape.KIND, "What it is; or a member `kind` under `fields` says it.", "kind: organ-absorbed-dose"),
    Key("of", Shape.OF, "`administration`: read once for each, as `$administration`, and bound to it.", "of: administration"),
    Key(
        "for_each",
        Shape.SOURCE,
        "Once per item of a sequence, or per content item of a report, as `$item`; `{sr: [$item]}` is the content item itself.",
        "for_each: {sr: [$administration, 113517 DCM]}",
    ),
    Key("when", Shape.CONDITION, "A condition: without it nothing is read."),
    Key("set", Shape.RESULT_SET, "Members that the mapping knows.", "set: {target_definition: whole-organ}"),
    Key("fields", Shape.RESULT_FIELDS, "The members that are read, each like a field; a value in the unit of its kind."),
)
IGNORE_KEYS = (
    Key("sr", Shape.SR, "The content items, by the codes of the concept names that lead to them.", required=True),
    Key("value_type", Shape.NAMES, "Only items of this value type, or of several."),
    Key("reason", Shape.TEXT, "Why nobody misses them.", "reason: Geometry of the tube, of no use here", required=True),
)
UNIT_KEYS = (
    Key("in", Shape.UCUM, "The unit that the sender writes."),
    Key("out", Shape.UCUM, "The unit that is published.", required=True),
    Key("pinned", Shape.FLAG, "`true`: your site swears to the unit. Nothing is repaired."),
)
ARRIVALS = ARRIVAL
DICOM_KEYS = (
    Key("charset", Shape.TEXT, "`utf-8`: all text is written as UTF-8 (ISO_IR 192).", "charset: utf-8"),
    Key("identity", Shape.TEXT, "`effective`: the patient as the gateway publishes it.", "identity: effective"),
    Key("elements", Shape.ELEMENTS, "Target path -> what becomes of it.", "elements: {StationName: {value: PETCT1}}"),
)
ACTION_KEYS = (
    Key("value", Shape.TEXT, "This text.", "{value: Example hospital}"),
    Key("copy", Shape.PATH, "What stands at another path.", '{copy: "(0009,xx36)[GEMS_PETD_01]"}'),
    Key(
        "field",
        Shape.FIELD,
        "The value of a field, in `unit` where it is a quantity.",
        "{field: administration.activity, unit: Bq}",
    ),
    Key("unit", Shape.UCUM, "With `field`: the unit in which the number is written."),
    Key("remove", Shape.FLAG, "The element is taken away.", "{remove: true}"),
    Key("when", Shape.CONDITION, "Only when the condition holds."),
)
RESOURCE_KEYS = (
    Key("per", Shape.PER, "How many are made: one for each of these.", "per: study", required=True),
    Key("kinds", Shape.KINDS, "With `per: result`: only for results of these kinds.", "kinds: [bed, eqd2]"),
    Key(
        "identity", Shape.TEXTS, "What tells one from another; ids are made from it.", 'identity: ["${study.uid}"]', required=True
    ),
    Key(
        "resourceType",
        Shape.RESOURCE_TYPE,
        "The FHIR R4 resource. Its elements follow as they stand in FHIR.",
        "resourceType: ImagingStudy",
        required=True,
    ),
)
TEMPLATE_VERBS = (
    Key(
        "${path}",
        Shape.SCOPE_PATH,
        "A hole. Alone it keeps its type, a quantity becomes a Quantity and a concept a CodeableConcept; inside text it "
        "becomes text. Absent: the element goes, and the object around it when nothing else in it was filled.",
        "started: ${study.started}",
    ),
    Key(
        "for_each",
        Shape.SCOPE_PATH,
        "In an entry of a list: one entry for each item; the other keys are its body.",
        '- {for_each: s in series, uid: "${s.uid}"}',
    ),
    Key(
        "if",
        Shape.SCOPE_PATH,
        "The object stays only when the path has a value; of a list of paths, when one has.",
        '{if: patient.id, value: "${patient.id}"}',
    ),
    Key(
        "unless",
        Shape.SCOPE_PATH,
        "The object stays only when the path has no value; of a list of paths, when none has.",
        "{unless: administration.activity, text: unknown}",
    ),
    Key(
        "is",
        Shape.ANYTHING,
        "With `if` or `unless`: this value itself, instead of an object.",
        'start: {if: administration.stopped_at, is: "${administration.started_at}"}',
    ),
    Key("@name", Shape.TEXT, "Behind `reference`: the resource of that name.", 'subject: {reference: "@patient"}'),
    Key("$${", Shape.TEXT, "A literal `${`.", "description: a $${ in the text"),
)
PER = ("patient", "study", "series", "device", "administration", "document", "result")
NEEDS = tuple(str(need) for need in Need)


def converters() -> dict[str, Converter]:
    """Every converter, from the registry."""
    return CONVERTERS


def says(converter: Converter) -> str:
    """The converter's own first sentence, for people: code marks as Markdown has them."""
    return converter.describe.split("\n\n")[0].replace("\n", " ").replace("``", "`")


def part_kinds(converter: Converter) -> dict[str, tuple[bool, bool]]:
    """Part -> (it reads a field, it is required)."""
    return {name: (part.kind is Kind.FIELD, part.required) for name, part in converter.parts.items()}


def names(keys: tuple[Key, ...]) -> tuple[str, ...]:
    return tuple(key.name for key in keys)


__all__ = [
    "CONDITION_KEYS",
    "ENTRY_KEYS",
    "EXPECT_KEYS",
    "LEVELS",
    "OUTCOMES",
    "PATH_FORMS",
    "REPEATED",
    "SCHEME_KEYS",
    "SOURCE_FORMS",
    "TABLE_KEYS",
    "TEST_KEYS",
    "Key",
    "Shape",
    "converters",
    "names",
    "part_kinds",
    "says",
]
